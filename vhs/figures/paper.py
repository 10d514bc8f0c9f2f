"""The page a figure is drawn for: how wide it is, how large its letters are, which panel of it is wanted.

Figures ask here for their width and for how many panels fit side by side, so that they flow anew instead of being
shrunk. What is asked for holds inside `drawn_for`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from vhs.errors import UsageError, choices

WIDTHS = {"column": 3.25, "page": 6.875}
"""Inches, of a paper in two columns (CVPR, ICCV)."""
FONTS = {None: 9.0, "column": 7.5, "page": 8.0}
"""Points, where none are asked for."""
WIDEST = 9.0
"""Inches, where no width is asked for."""
LEAST_WIDE = 3.25
"""Inches that legends and headlines need."""
LEAST, MOST = 1.5, 40.0
READABLE = 6.0
"""Points of the smallest letters."""
Item = TypeVar("Item")


@dataclass
class Paper:
    """width: inches, None as wide as the figure needs; font: points; panel, title: None as the figure has them;
    group_by: a regular expression that makes groups of models. seen, grouped: what figures made of panel and group_by.
    """

    width: float | None = None
    font: float = FONTS[None]
    panel: str | None = None
    title: str | None = None
    group_by: str | None = None
    seen: list[str] = field(default_factory=list)
    grouped: bool = False


_paper: ContextVar[Paper] = ContextVar("paper")


def parse(
    width: str | float | None = None, font: float | None = None, panel: str | None = None, title: str | None = None,
    group_by: str | None = None,
) -> Paper:  # fmt: skip
    """What was asked for: `column`, `page` or inches. Raises UsageError for what is no width or size."""
    inches = WIDTHS.get(str(width)) if width is not None else None
    if width is not None and inches is None:
        plain = re.fullmatch(r"\d{1,3}(\.\d+)?(in)?", str(width))
        inches = float(str(width).removesuffix("in")) if plain else 0.0
        if not LEAST <= inches <= MOST:
            raise UsageError(f"--width {width}: expected column, page or inches from {LEAST} to {MOST:g}.")
    if font is not None and not 4 <= font <= 40:
        raise UsageError(f"--font-size {font:g}: expected 4 to 40 points.")
    usual = FONTS["column" if inches < 4 else "page"] if inches is not None else FONTS[None]
    return Paper(inches, font or usual, panel, title, group_by)


@contextmanager
def drawn_for(paper: Paper) -> Iterator[Paper]:
    """Inside the block figures are for this page."""
    token = _paper.set(paper)
    try:
        yield paper
    finally:
        _paper.reset(token)


def current() -> Paper:
    return _paper.get(Paper())


def width_of(wanted: float) -> float:
    """Inches of a figure that needs `wanted`: what was asked for, or what it needs, as far as that is not too wide."""
    asked = current().width
    return asked if asked is not None else max(LEAST_WIDE, min(wanted, WIDEST))


def narrow() -> bool:
    """Whether the figure is for a column."""
    return (current().width or WIDEST) < 4


def across(count: int, cell: float, margin: float, most: int = 99, least: float = 0.75) -> int:
    """How many panels of `cell` inches fit side by side beside a margin; on a page of a given width they may shrink to
    the share `least` of that."""
    if count <= 0:
        return 1
    room = (current().width or WIDEST) - margin
    size = cell if current().width is None else least * cell
    fit = max(1, min(count, most, int(room / size + 1e-6)))
    rows = -(-count // fit)
    return -(-count // rows)  # rows as even as can be


def small() -> float:
    """Points of secondary words."""
    return max(READABLE, 0.85 * current().font)


def tiny() -> float:
    """Points of words where there are many."""
    return max(READABLE, 0.72 * current().font)


def keep(panels: Sequence[Item], name: Callable[[Item], str]) -> list[Item]:
    """The panel that was asked for, or all. Raises UsageError that lists their names."""
    paper = current()
    names = [" ".join(name(item).split()) for item in panels]
    paper.seen += names
    if paper.panel is None:
        return list(panels)
    wanted = paper.panel.lower().replace("_", " ")
    found = [item for item, own in zip(panels, names, strict=True) if own.lower() == wanted]
    found = found or [item for item, own in zip(panels, names, strict=True) if own.lower().startswith(wanted)]
    if not found:
        raise UsageError(f"--panel {paper.panel}: this figure has {choices(names)}.")
    return found[:1]
