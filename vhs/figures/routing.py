"""What heads' effects are made of: routing and fixed parts, and the class of each head."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vhs.errors import InputError
from vhs.figures import effects, style
from vhs.figures.agreement import SCALE_WORDS

PARTS = {"total": "whole effect", "routing": "routing", "fixed": "fixed"}
COLOURS = {"unused": "0.92", "static": style.COLOURS[1], "routing": style.COLOURS[0], "undecided": "0.7"}


def split(table: pl.DataFrame, scale: str = "accuracy") -> Figure:
    """Heat maps of the whole effect, its routing and its fixed part, on clean images and averaged over shifts; beside
    them the class of each head."""
    rows = table.filter(pl.col("scale") == scale)
    if not len(rows):
        raise InputError(f"the table has no scale {scale}; it has {', '.join(table['scale'].unique().sort())}.")
    if rows.select("model_id", "target").unique().height > 1:
        raise InputError("the table holds several models or targets; this figure draws one. Keep one of them.")
    factor = 1 if scale in ("loss", "log_odds", "error") else 100
    lines = [(name, part) for name, part in _lines(rows) if len(part)]
    grids = [[effects.grid(part, column) * factor for column in PARTS] for _, part in lines]
    depth, width = grids[0][0].shape
    figure = style.new(max(1.3, 0.26 * width + 0.5) * 4 + 1.2, max(1.6, 0.22 * depth + 0.9) * len(lines) + 0.9)
    panels = figure.subplots(len(lines), 4, squeeze=False, sharex=True, sharey=True)
    norm = style.symmetric_norm([grid for line in grids for grid in line])
    for row, (axes, (name, _), line) in enumerate(zip(panels, lines, grids, strict=True)):
        for place, grid, words in zip(axes, line, PARTS.values(), strict=False):
            image = style.heat_map(place, grid, norm=norm)
            place.set_title(words if row == 0 else "", loc="left", fontsize=9)
        axes[0].set_ylabel(f"{name}\nlayer")
    _classes(panels[0, 3], lines[0][1])
    for axes in panels[1:, 3]:
        axes.set_visible(False)
    style.colour_bar(image, list(panels[:, :3].flat), label=SCALE_WORDS[scale])
    handles = [Patch(facecolor=colour, edgecolor="0.4", label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=7.5)
    for axes in (*panels[-1, :3], panels[0, 3]):
        axes.set_xlabel("head")
    told = f"{style.short(rows['model'][0])}, n = {rows['n'][0]:,} a condition, tolerance {rows['tolerance'][0]:.1%}"
    figure.suptitle(told, fontsize=10)
    return figure


def _lines(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    """(name, rows) of clean, and of the mean over shifted conditions."""
    clean, shifted = rows.filter(pl.col("shift") == "clean"), rows.filter(pl.col("shift") != "clean")
    count = shifted.select(effects.CONDITION).unique().height
    mean = shifted.group_by("layer", "head", maintain_order=True).agg(pl.col(*PARTS).mean(), pl.col("class").first())
    return [("clean", clean), (f"mean of {count} shifts", mean)]


def _classes(axes: Axes, rows: pl.DataFrame) -> None:
    names = list(COLOURS)
    codes = rows.with_columns(code=pl.col("class").replace_strict(dict(zip(names, range(4), strict=True))))
    colours = ListedColormap(list(COLOURS.values()))
    grid = np.ma.masked_invalid(effects.grid(codes, "code"))
    axes.imshow(grid, cmap=colours, norm=BoundaryNorm(np.arange(-0.5, 4), 4), aspect="auto")
    axes.set_title("class", loc="left", fontsize=9)
    axes.set_xticks(np.arange(grid.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(grid.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="both", length=0, labelbottom=True, labelleft=True)
