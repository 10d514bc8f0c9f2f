"""What `vhs compare` found: correlations with their ceilings, and contrasts head by head."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vhs.errors import InputError
from vhs.figures import effects, style
from vhs.grid import head_name

SCALE_WORDS = {
    "accuracy": "drop in accuracy (points)", "lost_rate": "lost rate (points)", "loss": "added loss (nats)",
    "log_odds": "drop in log-odds (nats)", "error": "added squared error (deviations²)",
    "relative_error": "added squared error (%)",
}  # fmt: skip


def correlations(table: pl.DataFrame, metric: str = "all") -> Figure:
    """Rank correlation of head importances, clean against each condition, beside the ceiling it is under."""
    effects.check_one(table, "model", "fill")
    table = table if metric == "all" else table.filter(pl.col("metric") == metric)
    if not len(table):
        raise InputError(f"the table has no metric {metric}.")
    metrics = table.select("metric", "target").unique(maintain_order=True).rows()
    several = table["target"].n_unique() > 1
    conditions = table["b"].unique(maintain_order=True).to_list()
    figure = style.new(2.2 + 3.0 * len(metrics), 0.2 * len(conditions) + 1.6)
    grid = figure.subplots(1, len(metrics), squeeze=False, sharey=True)[0]
    for place, (name, target) in zip(grid, metrics, strict=True):
        own = (pl.col("metric") == name) & pl.col("target").eq_missing(target)
        _correlation_panel(place, table.filter(own), conditions)
        told = f"{target}, by " if several else "importance by "
        place.set_title(f"{told}{name}".replace("_", " "), loc="left")
    grid[0].set_yticks(range(len(conditions)), [name.partition("/")[2] or name for name in conditions])
    grid[0].set_ylim(len(conditions) - 0.5, -0.5)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def contrasts(table: pl.DataFrame, metric: str = "accuracy") -> Figure:
    """Heads across, conditions down: how much more a head matters there than on clean images."""
    effects.check_one(table, "model", "fill")
    rows = table.filter(pl.col("scale") == metric)
    if not len(rows):
        raise InputError(
            f"the table has no scale {metric}; it has {', '.join(table['scale'].unique(maintain_order=True))}."
        )
    heads = rows.select("layer", "head").unique().sort("layer", "head").rows()
    conditions = rows["b"].unique(maintain_order=True).to_list()
    targets = rows["target"].unique(maintain_order=True).to_list()
    factor = 1 if metric in ("loss", "log_odds", "error") else 100
    norm = style.symmetric_norm(rows["diff"].to_numpy() * factor)
    figure = style.new((0.2 * len(heads) + 0.4) * len(targets) + 3.0, max(0.2 * len(conditions) + 1.5, 2.8))
    grid = figure.subplots(1, len(targets), squeeze=False, sharey=True)[0]
    for axes, target in zip(grid, targets, strict=True):
        image = _contrast_panel(axes, rows.filter(pl.col("target").eq_missing(target)), heads, conditions, factor, norm)
        axes.set_title(target.replace("_", " ") if len(targets) > 1 else "", loc="left")
    grid[0].set_yticks(range(len(conditions)), [name.partition("/")[2] or name for name in conditions])
    figure.supxlabel("head   (dot: q < 0.05)", fontsize=9)
    label = f"{SCALE_WORDS[metric]}\nunder shift minus clean; red: matters more"
    style.colour_bar(image, list(grid), label=label, share=0.04)
    return figure


def _contrast_panel(
    axes: Axes, rows: pl.DataFrame, heads: list[tuple[int, int]], conditions: list[str], factor: float, norm: Normalize
) -> AxesImage:  # fmt: skip
    values, marked = np.full((len(conditions), len(heads)), np.nan), np.zeros((len(conditions), len(heads)), bool)
    for layer, head, b, diff, q in rows.select("layer", "head", "b", "diff", "q").iter_rows():
        place = conditions.index(b), heads.index((layer, head))
        values[place], marked[place] = diff * factor, q < effects.ALPHA
    axes.set_xticks(range(len(heads)), [head_name(layer, head) for layer, head in heads], rotation=90)
    return style.heat_map(axes, values, norm=norm, marked=marked, dot=3)


def _correlation_panel(axes: Axes, rows: pl.DataFrame, conditions: list[str]) -> None:
    for index, (within, words) in enumerate(((False, "all heads"), (True, "within layers"))):
        part = rows.filter(pl.col("within_layer") == within)
        y = np.array([conditions.index(name) for name in part["b"]]) + (index - 0.5) * 0.36
        r = part["r"].to_numpy()
        spread = [np.clip(r - part["lo"].to_numpy(), 0, None), np.clip(part["hi"].to_numpy() - r, 0, None)]
        colour = style.COLOURS[index]
        axes.errorbar(r, y, xerr=spread, fmt="o", color=colour, markersize=3, elinewidth=0.8, label=words)
        ceiling = effects.ceiling(part["reliability_a"], part["reliability_b"])
        axes.plot(ceiling, y, "|", color=colour, markersize=7, label=f"ceiling, {words}")
    axes.axvline(0, color="0.7", lw=0.8)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel("rank correlation with clean (95 %)")
