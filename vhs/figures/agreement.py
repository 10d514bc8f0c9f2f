"""What `vhs compare` found: correlations with their ceilings, and contrasts head by head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style, words
from vhs.grid import head_name

SCALE_WORDS = {
    "accuracy": "drop in accuracy (points)", "lost_rate": "lost rate (points)", "loss": "added loss (nats)",
    "log_odds": "drop in log-odds (nats)", "error": "added squared error (deviations²)",
    "relative_error": "added squared error (%)",
}  # fmt: skip
WITHIN = {False: "all heads", True: "within layers"}


class Shown(NamedTuple):
    """A panel: one scale and target, with layers or without."""

    name: str
    rows: pl.DataFrame


def correlations(table: pl.DataFrame, metric: str = "all") -> Figure:
    """Rank correlation of head importances with clean: a row a corruption, a dot a severity, from light to dark.

    The bar spans the intervals of all severities, the band the ceilings that noise puts over the correlations.
    """
    effects.check_one(table, "model", "fill")
    table = table if metric == "all" else table.filter(pl.col("metric") == metric)
    if not len(table):
        raise InputError(f"the table has no metric {metric}.")
    every = paper.keep(_panels(table), lambda panel: panel.name)
    names = list(dict.fromkeys(_corruption(name) for name in table["b"]))
    figure, panels = style.panels(len(every), 4, (1.9, 0.19 * len(names) + 0.35), (1.3, 1.1), least=0.5)
    for axes, panel in zip(panels, every, strict=True):
        _correlation_panel(axes, panel.rows, names)
        labels.title(axes, panel.name)
    for axes in panels:
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
    labels.label_below(panels, "rank correlation")
    _legend(figure)
    row = table.row(0, named=True)
    n = f"n = {row['n_images']:,}, {row['n_heads']} heads"
    labels.headline(figure, f"{style.short(row['model'])}: heads that matter under shift and on clean images, {n}")
    return figure


def contrasts(table: pl.DataFrame, metric: str = "accuracy") -> Figure:
    """Heads down, corruptions across with their severities side by side: how much more a head matters there."""
    effects.check_one(table, "model", "fill")
    rows = table.filter(pl.col("scale") == metric)
    if not len(rows):
        held = ", ".join(table["scale"].unique(maintain_order=True))
        raise InputError(f"the table has no scale {metric}; it has {held}.")
    heads = rows.select("layer", "head").unique().sort("layer", "head").rows()
    conditions = rows["b"].unique(maintain_order=True).to_list()
    targets = paper.keep(
        rows["target"].unique(maintain_order=True).to_list(), lambda name: words.plain(name or "class")
    )
    factor = 1 if metric in ("loss", "log_odds", "error") else 100
    norm = style.symmetric_norm(rows["diff"].to_numpy() * factor)
    cell = max(0.075 * len(conditions), 2.0), min(max(0.14 * len(heads) + 0.4, 1.8), 8.5)
    figure, panels = style.panels(len(targets), 2, cell, (0.9, 1.7), least=0.3)
    for axes, target in zip(panels, targets, strict=True):
        own = rows.filter(pl.col("target").eq_missing(target))
        image = _contrast_panel(axes, own, heads, conditions, factor, norm)
        axes.set_title(words.plain(target) if len(targets) > 1 and target else "")
    label = f"{SCALE_WORDS[metric]}, under shift minus clean\nred: matters more than on clean images"
    style.colour_bar(image, panels, label=label, share=0.05, aspect=35, below=True)
    told = "severities from left to right" if any(":" in name for name in conditions) else None
    dots = f"differs from clean, q < {effects.ALPHA:g} over heads and conditions"
    labels.footer(figure, [told] if told else [], dots=dots)
    row = rows.row(0, named=True)
    labels.headline(figure, f"{style.short(row['model'])}, n = {row['n']:,} images a condition")
    return figure


def _panels(table: pl.DataFrame) -> list[Shown]:
    several = table["target"].n_unique() > 1
    found = []
    for metric, target in table.select("metric", "target").unique(maintain_order=True).rows():
        own = table.filter((pl.col("metric") == metric) & pl.col("target").eq_missing(target))
        told = f"{words.plain(target)}, " if several and target else ""
        for within, name in WITHIN.items():
            rows = own.filter(pl.col("within_layer") == within)
            if len(rows):
                found.append(Shown(f"{told}{words.plain(metric)}, {name}", rows))
    return found


def _corruption(name: str) -> str:
    """What rows of the figure are called: without the severity."""
    shift, slash, rest = name.partition("/")
    return words.plain(rest.partition(":")[0]) if slash else shift


def _correlation_panel(axes: Axes, rows: pl.DataFrame, names: list[str]) -> None:
    severities = [int(name.rpartition(":")[2]) if ":" in name else 0 for name in rows["b"]]
    rows = rows.with_columns(
        place=pl.Series([names.index(_corruption(name)) for name in rows["b"]]), severity=pl.Series(severities),
        ceiling=pl.Series(effects.ceiling(rows["reliability_a"], rows["reliability_b"])),
    )  # fmt: skip
    axes.axvline(0, color="0.7", lw=0.8, zorder=0)
    for (place,), own in rows.group_by("place", maintain_order=True):
        y, low, high = float(str(place)), own["ceiling"].to_numpy().min(), own["ceiling"].to_numpy().max()
        axes.fill_betweenx([y - 0.34, y + 0.34], low, max(high, low + 0.01), color=style.COLOURS[4], alpha=0.35, lw=0)
        axes.plot([own["lo"].to_numpy().min(), own["hi"].to_numpy().max()], [y, y], color="0.75", lw=1.4, zorder=1)
        spread = np.linspace(-0.22, 0.22, len(own)) if len(own) > 1 else np.zeros(1)
        shade = [style.severity_colour(severity) for severity in own["severity"]]
        axes.scatter(own["r"], y + spread, c=shade, s=9, zorder=2, edgecolors="none")
    low = float(min(rows["lo"].to_numpy().min(), -0.05))
    high = float(max(rows["hi"].to_numpy().max(), rows["ceiling"].to_numpy().max(), 0.1))
    axes.set_xlim(max(low - 0.04, -1.05), min(high + 0.04, 1.05))
    axes.tick_params(axis="y", length=0)


def _legend(figure: Figure) -> None:
    dots = [
        Line2D([], [], ls="", marker="o", ms=4, mfc=style.severity_colour(level), mec="none", label=f"severity {level}")
        for level in (1, 5)
    ]
    bar = Line2D([], [], color="0.75", lw=1.6, label="95 % intervals, all severities")
    band = Patch(color=style.COLOURS[4], alpha=0.35, lw=0, label="ceiling: what noise allows")
    labels.footer(figure, [], handles=[*dots, bar, band])


def _contrast_panel(
    axes: Axes, rows: pl.DataFrame, heads: list[tuple[int, int]], conditions: list[str], factor: float, norm: Normalize
) -> AxesImage:  # fmt: skip
    shape = len(heads), len(conditions)
    values, marked = np.full(shape, np.nan), np.zeros(shape, bool)
    down = {head: index for index, head in enumerate(heads)}
    across = {name: index for index, name in enumerate(conditions)}
    for layer, head, b, diff, q in rows.select("layer", "head", "b", "diff", "q").iter_rows():
        place = down[layer, head], across[b]
        values[place], marked[place] = diff * factor, q < effects.ALPHA
    image = style.heat_map(axes, values, norm=norm, marked=marked, dot=1.6)
    labels.grouped_ticks(axes, [_corruption(name) for name in conditions])
    step = max(1, -(-len(heads) // 48))
    axes.set_yticks(range(0, len(heads), step), [head_name(*head) for head in heads[::step]], fontsize=paper.tiny())
    return image
