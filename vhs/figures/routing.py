"""What heads' effects are made of: routing and fixed parts, and the class of each head."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style
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
    drawn: list[tuple[str, np.ndarray | None]] = []
    for index, (name, part) in enumerate(lines):
        drawn += [(f"{told}, {name}", effects.grid(part, column) * factor) for column, told in PARTS.items()]
        drawn += [("class", None)] if index == 0 and not paper.narrow() else []
    drawn += [("class", None)] if paper.narrow() else []
    norm = style.symmetric_norm([grid for _, grid in drawn if grid is not None])
    drawn = paper.keep(drawn, lambda item: item[0])
    depth, width = effects.grid(lines[0][1], "total").shape
    cell = max(1.4, 0.26 * width + 0.4), max(1.4, 0.2 * depth + 0.6)
    figure, panels = style.panels(len(drawn), 3 if paper.narrow() else 4, cell, (0.4, 1.5), shared=False, least=0.5)
    for axes, (name, grid) in zip(panels, drawn, strict=True):
        if grid is None:
            _classes(axes, lines[0][1])
        else:
            image = style.heat_map(axes, grid, norm=norm)
        labels.title(axes, name)
    maps = [axes for axes, (_, grid) in zip(panels, drawn, strict=True) if grid is not None]
    if maps:
        style.colour_bar(image, maps, label=SCALE_WORDS[scale], share=0.05, aspect=35, below=True)
    figure.supylabel("layer")
    labels.label_below(panels, "head")
    handles = [Patch(facecolor=colour, edgecolor="0.4", label=name) for name, colour in COLOURS.items()]
    labels.footer(figure, [], handles=handles)
    row = rows.row(0, named=True)
    labels.headline(
        figure, f"{style.short(row['model'])}, n = {row['n']:,} a condition, tolerance {row['tolerance']:.1%}"
    )
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
    style.whole_ticks(axes, x=grid.shape[1], y=grid.shape[0])
    axes.set_xticks(np.arange(grid.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(grid.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="both", length=0, labelbottom=True, labelleft=True)
