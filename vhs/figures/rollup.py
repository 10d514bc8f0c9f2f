"""Heads over families of shifts, and how many are dispensable."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style, words
from vhs.figures.heatmap import HELPS
from vhs.shifts.names import FAMILIES, IMAGENET_C, STORED_NAMES

UNITS = {
    "accuracy": ("accuracy lost without the head (points)", 100.0), "loss": ("loss added (nats)", 1.0),
    "lost_rate": ("right answers lost (%)", 100.0), "log_odds": ("log-odds of being right lost (nats)", 1.0),
    "error": ("squared error added (deviations²)", 1.0), "relative_error": ("squared error added (%)", 100.0),
}  # fmt: skip
COLUMNS = 6
SHARES = (("n_redundant", "dispensable alone", 0), ("n_undecided", "undecided", None), ("n_needed", "needed", 1))
"""Column, what it is called, and its colour; None is grey."""


def heat_maps(table: pl.DataFrame, scale: str = "accuracy") -> Figure:
    """Clean, then each roll-up: families and categories, or corruptions where there are no others."""
    rows = table.filter(pl.col("scale") == scale)
    if not len(rows):
        scales = ", ".join(table["scale"].unique(maintain_order=True))
        raise InputError(f"the table has no rows of scale {scale}. Draw one of {scales}.")
    effects.check_one(rows, "model", "fill")
    names = _order(rows["over"].unique(maintain_order=True).to_list())
    label, factor = UNITS[scale]
    first = rows.filter(pl.col("over") == names[0])
    panels = [panel for target in rows["target"].unique(maintain_order=True) for panel in _panels(rows, target, names)]
    norm = style.symmetric_norm(rows.filter(pl.col("over").is_in(names)).select("value", "clean").to_numpy() * factor)
    panels = paper.keep(panels, lambda panel: panel[0])
    depth, width = (int(first[column].to_numpy().max()) + 1 for column in ("layer", "head"))
    cell = max(1.25, 0.26 * width + 0.35), max(1.6, 0.22 * depth + 0.6)
    figure, places = style.panels(len(panels), COLUMNS, cell, (0.3, 1.4))
    for axes, (name, part, column) in zip(places, panels, strict=True):
        image = _heat_map(axes, part, column, factor, norm)
        count = "" if column == "clean" else f"\nmean of {part['n_conditions'][0]}"
        labels.title(axes, words.plain(name) + count)
    figure.supylabel("layer")
    labels.label_below(places, "head")
    style.colour_bar(image, places, label=f"{label}\n{HELPS}", share=0.06, aspect=35, below=True)
    labels.footer(
        figure, [], dots=f"differs from clean, q < {effects.ALPHA:g} over all heads and roll-ups, clustered by image"
    )
    labels.headline(figure, f"{style.short(first['model'][0])}, n = {first['n'][0]:,} images a condition")
    return figure


def _panels(rows: pl.DataFrame, target: str | None, names: list[str]) -> list[tuple[str, pl.DataFrame, str]]:
    """(name, rows, column) of what is drawn of one target: clean, then every roll-up."""
    own = rows.filter(pl.col("target").eq_missing(target))
    told = "" if rows["target"].n_unique() == 1 or target is None else f", {target}"
    parts = [own.filter(pl.col("over") == name) for name in names]
    drawn = [(name + told, part, "value") for name, part in zip(names, parts, strict=True)]
    return [("clean" + told, parts[0], "clean"), *drawn]


def _order(names: list[str]) -> list[str]:
    """Families, then categories; corruptions only where there is neither."""
    wide = [name for name in (*IMAGENET_C, *FAMILIES) if name in names]
    others = [name for name in names if name not in wide and name.partition(" (")[0] not in STORED_NAMES]
    return [*wide, *others] or names


def _heat_map(axes: Axes, part: pl.DataFrame, column: str, factor: float, norm: Normalize) -> AxesImage:
    marked = effects.grid(part, "q") < effects.ALPHA if column == "value" else None
    return style.heat_map(axes, effects.grid(part, column) * factor, norm=norm, marked=marked)


def redundancy(table: pl.DataFrame, metric: str = "accuracy") -> Figure:
    """Stacked bars, one a condition: heads shown to be dispensable one at a time, needed, and undecided."""
    del metric  # there is one
    models = paper.keep(table["model"].unique(maintain_order=True).to_list(), style.short)
    most = max(table.filter(pl.col("model") == model).height for model in models)
    figure = style.new(min(max(3.2, 0.09 * most + 1.0), 9), 2.2 * len(models) + 1.0)
    for axes, model in zip(figure.subplots(len(models), 1, squeeze=False)[:, 0], models, strict=True):
        _stack(axes, table.filter(pl.col("model") == model))
        axes.set_title(style.short(model) if len(models) > 1 else "")
    handles, _ = figure.axes[0].get_legend_handles_labels()
    row = table.row(0, named=True)
    told = f"dispensable: the drop is below {row['tolerance'] * 100:g} points by its 95 % interval, one head at a time"
    labels.footer(figure, [told], handles=handles)
    who = style.short(models[0]) if len(models) == 1 else f"{len(models)} models"
    labels.headline(figure, f"{who} on {row['data']}, n = {row['n']:,} images a condition")
    return figure


def _stack(axes: Axes, rows: pl.DataFrame) -> None:
    x, below = np.arange(len(rows)), np.zeros(len(rows))
    for column, told, colour in SHARES:
        heights = rows[column].to_numpy()
        axes.bar(x, heights, 0.9, bottom=below, label=told, color="0.85" if colour is None else style.COLOURS[colour])
        below += heights
    axes.set_ylabel(f"heads of {rows['n_heads'][0]}")
    axes.set_xlim(-0.6, len(rows) - 0.4)
    labels.grouped_ticks(
        axes, [words.plain(corruption or shift) for shift, corruption in rows.select("shift", "corruption").rows()]
    )
