"""Numbers to words, for pages made from templates. What is not known is a dash; nothing is ever told as -0."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vhs.errors import InputError, choices

UNKNOWN = "–"
MOST_DIGITS = 15
MAIN = ("r", "value", "ce", "diff", "excess", "top1")
"""Columns that a table's `lo` and `hi` are of, the first that a row has; else they are of the column before them."""
Row = Mapping[str, Any]


def percent(value: float | None, digits: int = 1) -> str:
    """A share: `85.3 %`."""
    return UNKNOWN if value is None else _form("percent", value, digits) + FORMS["percent"].unit


def points(value: float | None, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign: `+0.9`."""
    return UNKNOWN if value is None else _form("points", value, digits)


def number(value: float | None, digits: int = 2) -> str:
    """`0.57`."""
    return UNKNOWN if value is None else _form("number", value, digits)


def signed(value: float | None, digits: int = 2) -> str:
    """`+0.57`."""
    return UNKNOWN if value is None else _form("signed", value, digits)


def thousands(value: float | None, digits: int = 0) -> str:
    """`10,000`."""
    return UNKNOWN if value is None else _form("thousands", value, digits)


def p_value(value: float | None) -> str:
    """`p = .031`, `p < .001`."""
    return _probability("p", value)


def q_value(value: float | None) -> str:
    """`q = .031`, `q < .001`."""
    return _probability("q", value)


def interval(row: Row, form: str = "number", *, of: str = "value", digits: int | None = None) -> str:
    """A row's value and its 95 % bounds: `+0.9 (-1.0 to +2.8)`; the value alone where its bounds are not known.

    of: the column; its bounds are OF_lo and OF_hi, or lo and hi where these are its.
    """
    _check_row(row)
    if form not in FORMS:
        raise InputError(f"{form!r} is no way to tell an interval. Expected {choices(FORMS)}.")
    if of not in row:
        raise InputError(
            f"there is no column `{of}` to tell an interval of. There are {', '.join(row)}; name one, of=."
        )
    if row[of] is None:
        return UNKNOWN
    digits = FORMS[form].digits if digits is None else digits
    told = _form(form, row[of], digits) + FORMS[form].unit
    bounds = [row[name] for name in _bounds(row, of)]
    if None in bounds:
        return told
    low, high = (_form(form, FORMS[form].within(bound), digits) for bound in bounds)
    return f"{told} ({low} to {high})"


def effect(row: Row, form: str = "number", *, of: str = "value", digits: int | None = None) -> str:
    """The same with the row's p, and its q where it has one: `+0.9 (-1.0 to +2.8), p = .31, q = .40`."""
    told = interval(row, form, of=of, digits=digits)
    found = {letter: _test(row, letter, of) for letter in ("p", "q")}
    if found["p"] is None and found["q"] is None:
        raise InputError(
            f"`{of}` has neither p nor q in this row, which has {', '.join(row)}. `interval` does without."
        )
    known = [(letter, row[name]) for letter, name in found.items() if name is not None and row[name] is not None]
    return ", ".join([told, *(_probability(letter, value) for letter, value in known)])


class Form(NamedTuple):
    """scale: what a value is multiplied with; spec: how Python writes it, up to the digits; unit: behind the value;
    least, most: where bounds end, since a mean of shares has bounds that know nothing of 0 and 1."""

    scale: float
    spec: str
    digits: int
    unit: str = ""
    least: float = -math.inf
    most: float = math.inf

    def within(self, bound: float) -> float:
        return min(max(_finite(bound), self.least), self.most)


FORMS = {
    "percent": Form(100, "", 1, " %"),
    "share": Form(100, "", 1, " %", least=0, most=1),
    "points": Form(100, "+", 1),
    "number": Form(1, "", 2),
    "signed": Form(1, "+", 2),
    "thousands": Form(1, ",", 0),
}


def _form(form: str, value: float, digits: int) -> str:
    """A number in a form, without its unit; no sign where it is told as zero."""
    if isinstance(digits, bool) or not isinstance(digits, int) or not 0 <= digits <= MOST_DIGITS:
        raise InputError(f"{digits!r} digits cannot be told. Expected 0 to {MOST_DIGITS}.")
    scaled = _finite(value) * FORMS[form].scale
    text = f"{_finite(scaled):{FORMS[form].spec}.{digits}f}"
    return text if text.strip("+-0.") else text.lstrip("+-")


def _finite(value: object) -> int | float:
    """Raises InputError for what is no number that can be told."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"`{value}` is no number. Name a column of numbers.")
    if not math.isfinite(value):
        raise InputError(f"{value} is no number that can be told. Was something divided by nothing?")
    return value


def _probability(letter: str, value: float | None) -> str:
    """Three digits below .1, two from there on, as in text; without the 0 before the point."""
    if value is None:
        return UNKNOWN
    known = _finite(value)
    if not 0 <= known <= 1:
        raise InputError(f"{known} is no probability. Name a column of {letter}.")
    if known < 0.001:
        return f"{letter} < .001"
    digits = 2 if known >= 0.0995 else 3
    return f"{letter} = {f'{known:.{digits}f}'.removeprefix('0')}"


def _check_row(row: object) -> None:
    if not isinstance(row, Mapping):
        raise InputError(
            f"an interval is told of a whole row, not of {type(row).__name__}. Write row(…) | interval(…)."
        )


def _bounds(row: Row, of: str) -> tuple[str, str]:
    """The names of a column's bounds. Raises InputError where it has none, or where lo and hi are another's."""
    if f"{of}_lo" in row and f"{of}_hi" in row:
        return f"{of}_lo", f"{of}_hi"
    if not {"lo", "hi"} <= row.keys():
        raise InputError(f"`{of}` has no bounds: there is no column `{of}_lo`. Tell it by {choices(FORMS)} alone.")
    names = list(row)
    before = names[max(names.index("lo") - 1, 0)]
    owner = next((name for name in MAIN if row.get(name) is not None), before)
    if of != owner:
        raise InputError(f"`{of}` has no bounds: `lo` and `hi` are of `{owner}`. Write of='{owner}'.")
    return "lo", "hi"


def _test(row: Row, letter: str, of: str) -> str | None:
    """The column of a column's p or q."""
    return next((name for name in (f"{letter}_{of}", f"{of}_{letter}", letter) if name in row), None)


FILTERS: dict[str, Callable[..., str]] = {
    "percent": percent,
    "points": points,
    "number": number,
    "signed": signed,
    "thousands": thousands,
    "p": p_value,
    "q": q_value,
    "interval": interval,
    "effect": effect,
}
"""By the names that templates have for them."""
