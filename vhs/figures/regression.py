"""Heads of a model that predicts numbers: heat maps by target, clean and mean over shifts."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style, words
from vhs.figures.effects import grid, shifted_title
from vhs.figures.heatmap import HELPS

METRICS = {"dmse_rel": ("squared error added without the head (%)", 100.0), "dmse": ("squared error added", 1.0)}


def heat_maps(table: pl.DataFrame, metric: str = "dmse_rel") -> Figure:
    """A row a target: clean, then the mean over shifts where there are any."""
    heads = table.filter(pl.col("unit") == "head")
    if heads["model"].n_unique() != 1 or heads["fill"].n_unique() != 1:
        raise InputError("this figure draws the heads of one model and one fill. Name them with --model and --fill.")
    told, factor = METRICS[metric]
    targets = heads["target"].unique(maintain_order=True).to_list()
    shifts = heads.filter(pl.col("shift") != "clean")
    panels = [("clean", heads.filter(pl.col("shift") == "clean"))] + (
        [(shifted_title(shifts), shifts)] if len(shifts) else []
    )
    grids = {
        (t, name): _means(part.filter(pl.col("target") == t), metric) * factor for t in targets for name, part in panels
    }
    drawn = [(target, name, part) for target in targets for name, part in panels]
    drawn = paper.keep(drawn, lambda item: _name(item[0], item[1], alone=len(targets) == 1))
    norm = style.symmetric_log_norm(grids.values())
    depth, width = next(iter(grids.values())).shape
    cell = max(1.5, 0.3 * width + 0.4), max(1.5, 0.24 * depth + 0.6)
    figure, places = style.panels(len(drawn), len(panels), cell, (0.4, 1.4), least=0.6)
    for axes, (target, name, part) in zip(places, drawn, strict=True):
        own = part.filter(pl.col("target") == target)
        marked = grid(own, "q") < effects.ALPHA if _single(part) else None
        image = style.heat_map(axes, grids[target, name], norm=norm, marked=marked)
        labels.title(axes, _name(target, name, alone=len(targets) == 1))
    figure.supylabel("layer")
    labels.label_below(places, "head")
    label = f"{told} (logarithmic from {norm.linthresh:.2g} on)\n{HELPS}"
    style.colour_bar(image, places, label=label, share=0.06, aspect=35, below=True)
    clean_only = "" if all(_single(part) for _, part in panels) else "clean: "
    labels.footer(figure, [], dots=f"{clean_only}{effects.DIFFERS}")
    row = heads.row(0, named=True)
    labels.headline(figure, f"{style.short(row['model'])} on {row['data']}, n = {row['n']:,} images a condition")
    return figure


def _name(target: str, name: str, *, alone: bool) -> str:
    return name if alone else f"{words.plain(target)}, {name}"


def _single(rows: pl.DataFrame) -> bool:
    """Whether they are of one condition: a mean over several has no q."""
    return rows.select("shift", "corruption", "severity").n_unique() == 1


def _means(rows: pl.DataFrame, metric: str) -> np.ndarray:
    """[layers, heads]: over the conditions; NaN where there is no head."""
    return grid(rows.group_by("layer", "head").agg(pl.col(metric).mean()), metric)
