"""Every head under every condition: a block a corruption, its severities side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vhs.figures import effects, labels, paper, style, words
from vhs.figures.effects import METRICS, Effects
from vhs.figures.heatmap import HELPS

CELL = 0.075
"""Inches of a head in a block."""


class Block(NamedTuple):
    """A corruption, clean images or a shard set, and its heat maps by severity."""

    name: str
    shown: list[tuple[int, Effects]]


def blocks(table: pl.DataFrame, metric: str = "drop") -> Figure:
    """Clean once, then a block a corruption with a heat map a severity; one image a block, so that hundreds of heat
    maps are drawn in a second."""
    heads = effects.single_fill(table)
    effects.check_one(heads, "model")
    every = _blocks(effects.by_condition(heads, metric))
    norm = style.symmetric_norm([item.value_LH for block in every for _, item in block.shown])
    every = paper.keep(every, lambda block: block.name)
    depth, width = every[0].shown[0][1].value_LH.shape
    most = max(len(block.shown) for block in every)
    wide, tall = min(max(CELL * most * (width + 1), 1.3), 4.0), min(max(0.075 * depth + 0.34, 0.7), 2.2)
    figure, panels = style.panels(len(every), 4, (wide + 0.15, tall), (0.2, 1.5), shared=False, least=0.6)
    images = [_draw(axes, block, most, norm) for axes, block in zip(panels, every, strict=True)]
    label, unit, _ = METRICS[metric]
    style.colour_bar(images[0], panels, label=f"{label} ({unit})\n{HELPS}", share=0.05, aspect=35, below=True)
    told = "in each map layers go down, heads across; numbers are severities"
    labels.footer(figure, [told], dots=f"differs from 0, q < {effects.ALPHA:g} over the heads of the condition")
    first = heads.row(0, named=True)
    labels.headline(figure, f"{style.short(first['model'])} on {first['data']}, n = {first['n']:,} images a condition")
    return figure


def _blocks(found: list[tuple[tuple[str, str | None, int], Effects]]) -> list[Block]:
    by_name: dict[str, list[tuple[int, Effects]]] = {}
    for (shift, corruption, severity), item in found:
        by_name.setdefault(words.plain(corruption or shift), []).append((severity, item))
    return [Block(name, sorted(shown, key=lambda pair: pair[0])) for name, shown in by_name.items()]


def _draw(axes: Axes, block: Block, most: int, norm: TwoSlopeNorm) -> AxesImage:
    """The maps of a block as one, a white column between two, and the space of severities that are not there."""
    depth, width = block.shown[0][1].value_LH.shape
    values = np.ma.masked_all((depth, most * (width + 1) - 1))
    for index, (_, item) in enumerate(block.shown):
        start = index * (width + 1)
        values[:, start : start + width] = np.where(np.isnan(item.value_LH), np.nan, item.value_LH)
        rows, columns = np.nonzero(item.marked_LH)
        axes.plot(start + columns, rows, "o", color="black", ms=1.8, mec="white", mew=0.3)
        if len(block.shown) > 1:
            axes.text(start + (width - 1) / 2, depth - 0.3, str(block.shown[index][0]), ha="center", va="top",
                      fontsize=paper.tiny(), color="0.35")  # fmt: skip
    image = axes.imshow(values, cmap=style.diverging(blank="white"), norm=norm, aspect="auto")
    labels.title(axes, block.name)
    axes.set_xticks([])
    axes.set_yticks([])
    style.bare(axes)
    return image
