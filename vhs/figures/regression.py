"""Heads of a model that predicts numbers: heat maps by target, clean and mean over shifts."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, style
from vhs.figures.effects import grid, shifted_title

METRICS = {"dmse_rel": ("squared error added without the head (%)", 100.0), "dmse": ("squared error added", 1.0)}


def heat_maps(table: pl.DataFrame, metric: str = "dmse_rel") -> Figure:
    """A row a target: clean, then the mean over shifts where there are any."""
    heads = table.filter(pl.col("unit") == "head")
    if heads["model"].n_unique() != 1 or heads["fill"].n_unique() != 1:
        raise InputError("this figure draws the heads of one model and one fill. Name them with --model and --fill.")
    words, factor = METRICS[metric]
    targets = heads["target"].unique(maintain_order=True).to_list()
    shifts = heads.filter(pl.col("shift") != "clean")
    panels = [("clean", heads.filter(pl.col("shift") == "clean"))] + (
        [(shifted_title(shifts), shifts)] if len(shifts) else []
    )
    grids = {
        (t, name): _means(part.filter(pl.col("target") == t), metric) * factor for t in targets for name, part in panels
    }
    norm = style.symmetric_norm(grids.values())
    depth, width = next(iter(grids.values())).shape
    figure = style.new(
        max(2.2, 0.42 * width + 0.8) * len(panels) + 1.6, max(1.8, 0.3 * depth + 0.8) * len(targets) + 0.5
    )
    axes = figure.subplots(len(targets), len(panels), squeeze=False, sharex=True, sharey=True)
    for row, target in zip(axes, targets, strict=True):
        for place, (name, part) in zip(row, panels, strict=True):
            own = part.filter(pl.col("target") == target)
            marked = grid(own, "q") < effects.ALPHA if _single(part) else None
            image = style.heat_map(place, grids[target, name], norm=norm, marked=marked)
            place.set_title(f"{target.replace('_', ' ')}, {name}", loc="left")
        row[0].set_ylabel("layer")
    where = "" if all(_single(part) for _, part in panels) else ", clean"
    figure.supxlabel(f"head   (dot: q < 0.05{where})", fontsize=9)
    style.colour_bar(image, list(axes.flat), label=words, share=0.06)
    figure.suptitle(f"{style.short(heads['model'][0])}, n = {heads['n'][0]:,} images a condition", fontsize=10)
    return figure


def _single(rows: pl.DataFrame) -> bool:
    """Whether they are of one condition: a mean over several has no q."""
    return rows.select("shift", "corruption", "severity").n_unique() == 1


def _means(rows: pl.DataFrame, metric: str) -> np.ndarray:
    """[layers, heads]: over the conditions; NaN where there is no head."""
    return grid(rows.group_by("layer", "head").agg(pl.col(metric).mean()), metric)
