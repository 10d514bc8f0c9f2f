"""Many small pictures as one: rows and columns of cells with labels, drawn as a single image.

A hundred axes take seconds; one image of all cells does not. Letters: H height, W width, C channels (1 or 3).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from vhs.figures import paper, style

PIXELS = 128
"""Of a cell's side, at least."""
GAP = 6
CELL, TITLE, COLUMNS, LINE, BAR, MARGIN, NARROWEST = 0.8, 0.2, 0.24, 0.14, 0.3, 0.1, 4.2
"""Inches: a cell's height, a line of the title, column heads, a line of the foot, the colour bar, the edge, and the
least width."""
LETTERS, TITLE_LETTERS = 16, 12
"""Of the foot and of the title, an inch."""
HEAT = "inferno"
VEIL = (0.15, 0.85)
"""How opaque colour lies over an image where attention is least and most."""


@dataclass(frozen=True)
class Row:
    """A row of cells, RGB 0 to 1, and what stands before and behind it; None is an empty cell."""

    label: str
    cells: Sequence[np.ndarray | None]
    beside: str = ""


@dataclass
class Sheet:
    """Rows of cells. columns: what stands above each; title; foot: a line below; bar: what colours say, if anything."""

    title: str
    columns: Sequence[str]
    rows: list[Row] = field(default_factory=list)
    foot: str = ""
    bar: str | None = None


def plain(image_HWC: np.ndarray) -> np.ndarray:
    """float [H', W', 3]: an image in its colours, as large as a cell."""
    rgb = image_HWC.repeat(3, -1) if image_HWC.shape[-1] == 1 else image_HWC
    return _enlarged(rgb.astype(float) / 255)


def overlaid(image_HWC: np.ndarray, map_PP: np.ndarray, top: float) -> np.ndarray:
    """float [H', W', 3]: a map over a paled grey image, its patches as large as in the image; `top` is brightest."""
    grey = plain(image_HWC).mean(-1, keepdims=True) * 0.75 + 0.2
    share = np.clip(map_PP / max(top, 1e-12), 0, 1)
    large = _fitted(share, (grey.shape[0], grey.shape[1]))
    colour = mpl.colormaps[HEAT](large)[..., :3]
    veil = (VEIL[0] + (VEIL[1] - VEIL[0]) * large)[..., None]
    return grey * (1 - veil) + colour * veil


def levels(image_HWC: np.ndarray, levels_PP: np.ndarray, count: int) -> np.ndarray:
    """float [H', W', 3]: levels from blue, the least, to red over a paled grey image."""
    grey = plain(image_HWC).mean(-1, keepdims=True).repeat(3, -1)
    scale = mpl.colormaps[style.DIVERGING].resampled(max(count, 2))
    large = _fitted(levels_PP.astype(float), (grey.shape[0], grey.shape[1]))
    return 0.4 * grey + 0.6 * scale((large + 0.5) / count)[..., :3]


def matrix(values: np.ndarray, top: float) -> np.ndarray:
    """float [H', W', 3]: a map alone."""
    return _fitted3(mpl.colormaps[HEAT](np.clip(values / max(top, 1e-12), 0, 1))[..., :3])


def framed(cell: np.ndarray, row: int, column: int, grid: tuple[int, int]) -> np.ndarray:
    """The cell with a frame around the patch at this row and column of `grid`."""
    height, width = cell.shape[:2]
    top, bottom = round(row * height / grid[0]), round((row + 1) * height / grid[0]) - 1
    left, right = round(column * width / grid[1]), round((column + 1) * width / grid[1]) - 1
    out = cell.copy()
    for thick, colour in ((3, (1.0, 1.0, 1.0)), (1, (0.0, 0.6, 1.0))):
        for part in (slice(top, top + thick), slice(bottom - thick + 1, bottom + 1)):
            out[part, left : right + 1] = colour
        for part in (slice(left, left + thick), slice(right - thick + 1, right + 1)):
            out[top : bottom + 1, part] = colour
    return out


def draw(sheet: Sheet) -> Figure:
    """The figure, a cell CELL inches high."""
    shape = max((cell.shape for row in sheet.rows for cell in row.cells if cell is not None), default=(PIXELS,) * 2)
    cell_h, cell_w = shape[0], shape[1]
    rows, columns = len(sheet.rows), max(len(row.cells) for row in sheet.rows)
    canvas = np.ones((rows * (cell_h + GAP) - GAP, columns * (cell_w + GAP) - GAP, 3))
    for r, row in enumerate(sheet.rows):
        for c, cell in enumerate(row.cells):
            if cell is not None:
                top, left = r * (cell_h + GAP), c * (cell_w + GAP)
                canvas[top : top + cell_h, left : left + cell_w] = _fitted3(cell, (cell_h, cell_w))
    left, right = _margins(sheet)
    asked = paper.current().width
    wide = CELL * cell_w / cell_h if asked is None else max((asked - left - right) / columns, 0.1)
    tall = wide * cell_h / cell_w
    width = asked or max(wide * columns + left + right, NARROWEST)
    size = 9.0 / paper.current().font
    foot = textwrap.wrap(sheet.foot, int(width * LETTERS * size))
    headline = sheet.title if paper.current().title is None else str(paper.current().title)
    title = textwrap.wrap(headline, int(width * TITLE_LETTERS * size), break_long_words=True)
    top = TITLE * len(title) + MARGIN + (COLUMNS if any(sheet.columns) else 0.0)
    bottom = LINE * len(foot) + (BAR if sheet.bar is not None else 0.0) + MARGIN
    height = tall * rows + top + bottom
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((left / width, bottom / height, wide * columns / width, tall * rows / height))
    axes.imshow(np.clip(canvas, 0, 1), interpolation="nearest", aspect="auto")
    style.bare(axes)
    axes.xaxis.tick_top()
    axes.set_xticks([(cell_w + GAP) * c + cell_w / 2 for c in range(columns)], _short(sheet.columns, columns, wide))
    axes.set_yticks([(cell_h + GAP) * r + cell_h / 2 for r in range(rows)], [row.label for row in sheet.rows])
    for r, row in enumerate(sheet.rows):
        if row.beside:
            place = canvas.shape[1] + cell_w * 0.08, (cell_h + GAP) * r + cell_h / 2
            axes.text(*place, row.beside, va="center", fontsize=paper.tiny(), color="0.35")
    figure.text(MARGIN / width, 1 - MARGIN / height, "\n".join(title), va="top")
    figure.text(MARGIN / width, MARGIN / height, "\n".join(foot), va="bottom", fontsize=paper.small(), color="0.35")
    if sheet.bar is not None:
        _bar(figure, sheet.bar, ((left + wide * columns) / width, (bottom - 0.24) / height))
    return figure


def _bar(figure: Figure, label: str, corner: tuple[float, float]) -> None:
    """A short colour bar below the cells, from nothing to the most; corner: its right end."""
    width, height = figure.get_size_inches()
    long = 1.0 / width
    place = figure.add_axes((corner[0] - long, corner[1], long, 0.09 / height))
    shown = ScalarMappable(Normalize(0, 1), mpl.colormaps[HEAT])
    bar = figure.colorbar(shown, cax=place, orientation="horizontal")
    bar.set_ticks([])
    bar.outline.set_visible(False)
    bar.ax.text(-0.05, 0.5, "0", ha="right", va="center", fontsize=paper.tiny(), transform=bar.ax.transAxes)
    bar.ax.text(1.05, 0.5, label, ha="left", va="center", fontsize=paper.tiny(), transform=bar.ax.transAxes)


def _margins(sheet: Sheet) -> tuple[float, float]:
    """Inches on the left and right for what stands beside the rows."""
    longest = max((len(line) for row in sheet.rows for line in row.label.split("\n")), default=0)
    beside = max((len(row.beside) for row in sheet.rows), default=0)
    return max(0.5, 0.075 * longest + 0.25), max(0.065 * beside + 0.2, 0.75 if sheet.bar else 0)


def _short(names: Sequence[str], count: int, inches: float) -> list[str]:
    """Column heads that do not touch: their ends, which tell samples apart."""
    most = max(4, int(inches * 15))
    return [name if len(name) <= most else f"…{name[1 - most :]}" for name in [*names, *[""] * count][:count]]


def _enlarged(rgb: np.ndarray) -> np.ndarray:
    """Whole repetitions of pixels until the shorter side is a cell's."""
    times = max(1, -(-PIXELS // min(rgb.shape[:2])))
    return rgb.repeat(times, 0).repeat(times, 1)


def _fitted(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The nearest value for each of `shape` pixels."""
    rows = (np.arange(shape[0]) * values.shape[0]) // shape[0]
    columns = (np.arange(shape[1]) * values.shape[1]) // shape[1]
    return values[np.ix_(rows, columns)]


def _fitted3(values: np.ndarray, shape: tuple[int, int] | None = None) -> np.ndarray:
    """The same of colours; without a shape as large as a cell."""
    if shape is None:
        return _enlarged(values)
    if values.shape[:2] == shape:
        return values
    return np.stack([_fitted(values[..., channel], shape) for channel in range(3)], -1)
