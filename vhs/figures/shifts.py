"""Which shifts the same heads serve: a matrix of shifts by shifts."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, style


def by_corruption(table: pl.DataFrame, scale: str = "loss") -> Figure:
    """Corruptions (means over severities) and shard sets, clusters side by side."""
    return _matrix(table, scale, "corruption")


def by_category(table: pl.DataFrame, scale: str = "loss") -> Figure:
    """The same of categories."""
    return _matrix(table, scale, "category")


def _matrix(table: pl.DataFrame, scale: str, level: str) -> Figure:
    rows = table.filter((pl.col("metric") == scale) & (pl.col("level") == level))
    if not len(rows):
        raise InputError(f"the table has no {level} of scale {scale}.")
    effects.check_one(rows, "model", "fill", "target")
    overall = rows.filter(~pl.col("within_layer"))
    clusters = dict(overall.select("b", "cluster_b").iter_rows()) | dict(overall.select("a", "cluster_a").iter_rows())
    first = list(clusters)
    names = sorted(first, key=lambda name: (clusters[name] is None, clusters[name], first.index(name)))
    figure = style.new(0.24 * len(names) * 2 + 3.2, 0.24 * len(names) + 2.0)
    panels = figure.subplots(1, 2, sharey=True)
    norm = style.symmetric_norm([np.ones(1)])
    for axes, (within, words) in zip(panels, ((False, "all heads"), (True, "within layers")), strict=True):
        values, known = _grid(rows.filter(pl.col("within_layer") == within), names)
        image = style.heat_map(axes, values, norm=norm, marked=known, dot=2)
        axes.set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=90)
        axes.set_title(words, loc="left", fontsize=9)
        for edge in range(1, len(names)):
            if clusters[names[edge]] != clusters[names[edge - 1]]:
                axes.axhline(edge - 0.5, color="black", lw=0.8)
                axes.axvline(edge - 0.5, color="black", lw=0.8)
    panels[0].set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    label = "rank correlation of heads' importances\n(dot: noise taken out; none: too noisy for that)"
    style.colour_bar(image, list(panels), label=label)
    row = rows.row(0, named=True)
    figure.suptitle(
        f"{style.short(row['model'])}, importance by {scale.replace('_', ' ')}, {row['n_heads']} heads, "
        f"n = {row['n_images']:,}\n"
        f"lines part clusters (all heads)", fontsize=9,
    )  # fmt: skip
    return figure


def _grid(rows: pl.DataFrame, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(correlations, whether they are disattenuated), of every two shifts."""
    values, known = np.full((len(names), len(names)), np.nan), np.zeros((len(names), len(names)), bool)
    for a, b, r, corrected in rows.select("a", "b", "r", "disattenuated").iter_rows():
        i, j = names.index(a), names.index(b)
        values[i, j] = values[j, i] = np.clip(r if corrected is None else corrected, -1, 1)
        known[i, j] = known[j, i] = corrected is not None
    return values, known
