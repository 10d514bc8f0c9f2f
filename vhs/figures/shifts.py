"""Which shifts the same heads serve: a matrix of shifts by shifts."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style, words


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
    kept = paper.keep([(False, "all heads"), (True, "within layers")], lambda item: item[1])
    size = 0.17 * len(names)
    figure, panels = style.panels(len(kept), 2, (size + 0.3, size + 1.2), (1.3, 0.9), least=0.6)
    norm = style.symmetric_norm([np.ones(1)])
    for axes, (within, told) in zip(panels, kept, strict=True):
        values, known = _grid(rows.filter(pl.col("within_layer") == within), names)
        image = style.heat_map(axes, values, norm=norm, marked=known, dot=1.6)
        axes.set_xticks(range(len(names)), [words.plain(name) for name in names], rotation=90, fontsize=paper.tiny())
        axes.set_yticks(range(len(names)), [words.plain(name) for name in names], fontsize=paper.tiny())
        labels.title(axes, told)
        for edge in range(1, len(names)):
            if clusters[names[edge]] != clusters[names[edge - 1]]:
                axes.axhline(edge - 0.5, color="black", lw=0.8)
                axes.axvline(edge - 0.5, color="black", lw=0.8)
    style.colour_bar(image, panels, label="rank correlation of heads' importances", share=0.05, aspect=35, below=True)
    labels.footer(
        figure, ["lines part clusters, of all heads"], dots="noise is taken out; without a dot it is too large for that"
    )
    row = rows.row(0, named=True)
    told = f"importance by {words.plain(scale)}, {row['n_heads']} heads, n = {row['n_images']:,}"
    labels.headline(figure, f"{style.short(row['model'])}, {told}")
    return figure


def _grid(rows: pl.DataFrame, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(correlations, whether they are disattenuated), of every two shifts."""
    values, known = np.full((len(names), len(names)), np.nan), np.zeros((len(names), len(names)), bool)
    for a, b, r, corrected in rows.select("a", "b", "r", "disattenuated").iter_rows():
        i, j = names.index(a), names.index(b)
        values[i, j] = values[j, i] = np.clip(r if corrected is None else corrected, -1, 1)
        known[i, j] = known[j, i] = corrected is not None
    return values, known
