"""Where templates run: they read what they are given, reach nothing else, and end.

Nothing here depends on chance or memory addresses, so that equal templates and tables give equal text.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2 import StrictUndefined, Template, Undefined, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Namespace

from vhs.errors import InputError
from vhs.reports.named_tables import Row

MOST = 64 << 20
"""Characters of a page, and of whatever is made on the way to it."""
MOST_STEPS = 10_000_000
"""Turns of loops of a page; a call counts CALL, which is how much longer it takes."""
CALL = 10
MOST_BITS = 1 << 16
"""Of an integer that is computed."""
GLOBALS = ("dict", "namespace", "cycler", "joiner")
FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby", "int", "items", "last",
    "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr", "sort",
    "sum", "title", "trim", "unique", "upper",
)  # fmt: skip
"""Those of Jinja that neither draw at random nor make much of little."""
OPEN: tuple[tuple[type, frozenset[str] | None], ...] = (
    (str, frozenset({
        "capitalize", "count", "endswith", "find", "isalpha", "isdigit", "islower", "isupper", "lower", "lstrip",
        "partition", "removeprefix", "removesuffix", "rpartition", "rsplit", "rstrip", "split", "splitlines",
        "startswith", "strip", "title", "upper",
    })),
    (dict, frozenset({"get", "items", "keys", "values"})),
    (tuple, frozenset({"count", "grouper", "index", "list"})),
    (list, frozenset({"count", "index"})),
    (LoopContext, None),
    (Namespace, None),
    (Cycler, None),
)  # fmt: skip
"""Attributes that a template may read, by type; None: all that do not begin with an underscore."""
COUNTED, JOINED = "each turn of a loop", "the parts of ~"
"""Names of filters that no template can write."""


class Sandbox(ImmutableSandboxedEnvironment):
    """For one page: what it has spent is counted."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, trim_blocks=True,
            lstrip_blocks=True, optimized=False, finalize=self._printed,
        )  # fmt: skip
        self._steps = self._characters = 0
        self.globals = {name: self.globals[name] for name in GLOBALS} | {"range": self._range}
        filters: dict[str, Callable[..., Any]] = {name: self.filters[name] for name in FILTERS}
        filters |= {"join": self._join, "replace": self._replace, "string": told, "e": escape, "escape": escape}
        self.filters = filters | {COUNTED: self._counted, JOINED: self._join}

    def compiled(self, text: str) -> Template:
        """A template whose loops are counted and joints are measured. Raises TemplateSyntaxError."""
        tree = self.parse(text)
        for loop in tree.find_all(nodes.For):
            if loop.recursive:
                told = "loops that call themselves are not run; write one loop in another"
                raise TemplateSyntaxError(told, loop.lineno)
            loop.iter = nodes.Filter(loop.iter, COUNTED, [], [], None, None, lineno=loop.lineno)
        for joint in list(tree.find_all(nodes.Concat)):
            parts = nodes.List(joint.nodes, lineno=joint.lineno)
            joint.nodes = [nodes.Filter(parts, JOINED, [], [], None, None, lineno=joint.lineno)]
        tree.set_environment(self)
        return self.from_string(tree)

    def wrap_str_format(self, value: Any) -> None:
        """Nothing: text has no `format` here, which makes much of little; there are filters for numbers."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read an attribute."""
        is_open = any(isinstance(obj, kind) and (names is None or attr in names) for kind, names in OPEN)
        return is_open and super().is_safe_attribute(obj, attr, value)

    def is_safe_callable(self, obj: Any) -> bool:
        """The same, and ten steps: every call asks."""
        self.spend(CALL)
        return super().is_safe_callable(obj)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """The same, but that a row's columns go before a dictionary's methods: there are columns called `values`."""
        if isinstance(obj, Row) and (attribute in obj or not hasattr(dict, attribute)):
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The same, for what stays small."""
        if operator == "%" and isinstance(left, str):
            raise SecurityError("% is of numbers here; text is joined by ~")
        if _size(operator, left, right) > 1:
            raise InputError(f"the result of {operator} is too large for a page.")
        return super().call_binop(context, operator, left, right)

    def spend(self, steps: int = 1) -> None:
        """Raises InputError where a page has taken more steps than are allowed."""
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise InputError(f"the page takes more than {MOST_STEPS:,} steps. Does a loop never end?")

    def _counted(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self.spend()
            yield value

    def _range(self, *bounds: int) -> range:
        made = range(*bounds)
        self.spend(len(made))
        return made

    def _printed(self, value: Any) -> str:
        text = told(value)
        self._characters += len(text)
        if self._characters > MOST:
            raise InputError(f"the page is longer than {MOST >> 20} MiB. Does a loop never end?")
        return text

    def _join(self, values: Iterable[Any], between: str = "") -> str:
        parts = [told(value) for value in values]
        return _measured(sum(map(len, parts)) + len(between) * len(parts), lambda: between.join(parts))

    def _replace(self, text: str, old: str, new: str) -> str:
        longer = text.count(old) * (len(new) - len(old))
        return _measured(len(text) + longer, lambda: text.replace(old, new))


def told(value: Any) -> str:
    """What is printed of a value. Raises InputError for what is no text and no number."""
    if isinstance(value, Undefined):
        return str(value)  # raises, in Jinja's words
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value + 0.0)  # -0.0 as 0.0
    if value is None:
        raise InputError("an empty cell would be printed. A filter of numbers prints –, default('none', true) a word.")
    what = str(value) if isinstance(value, float) else f"a {type(value).__name__}"
    raise InputError(f"{what} would be printed; text or a number was expected. Name a column of a row, or join a list.")


def escape(value: Any) -> str:
    """For HTML."""
    return html.escape(told(value))


def _measured(length: int, make: Callable[[], str]) -> str:
    if length > MOST:
        raise InputError(f"a text is longer than {MOST >> 20} MiB. Does a loop never end?")
    return make()


def _size(operator: str, left: Any, right: Any) -> float:
    """How large the result of an operator is, of what is allowed; 0 for what cannot grow, or is refused anyway."""
    numbers = [value for value in (left, right) if isinstance(value, int)]
    lengths = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
    if operator == "+":
        return sum(lengths) / MOST
    if operator == "*" and lengths:
        return lengths[0] * (numbers[0] if numbers else 0) / MOST
    if len(numbers) < 2:
        return 0
    bits = left.bit_length() * max(right, 0) if operator == "**" else left.bit_length() + right.bit_length()
    return bits / MOST_BITS
