"""Which measures of heads go with how much heads matter."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style, words

MOST = 30
NAMES = ["metric", "of", "query", "weighting"]


def by_condition(table: pl.DataFrame, scale: str = "loss") -> Figure:
    """Measures down, those that go with importance on clean images most first; left, clean with intervals over heads;
    right, under every condition."""
    rows = table.filter(pl.col("scale") == scale)
    if not len(rows):
        raise InputError(f"the table has no scale {scale}; it has {', '.join(table['scale'].unique().sort())}.")
    effects.check_one(rows, "model", "fill", "target")
    first = effects.first_condition(rows)
    chosen = first.with_columns(size=pl.col("r").abs()).sort("size", descending=True, maintain_order=True).head(MOST)
    names = chosen.select(NAMES).rows()
    conditions = rows.select(effects.CONDITION).unique(maintain_order=True).rows()
    beside = len(conditions) > 1 and not paper.narrow()  # a column has room for clean images alone
    figure = style.new(4.6 + 0.06 * len(conditions) * beside, 0.17 * len(names) + 1.9)
    ratios = [1.6, max(0.6, 0.035 * len(conditions))] if beside else [1.0]
    left, *others = figure.subplots(1, 1 + beside, sharey=True, width_ratios=ratios, squeeze=False)[0]
    y, r = np.arange(len(names)), chosen["r"].to_numpy()
    spread = [r - chosen["lo"].to_numpy(), chosen["hi"].to_numpy() - r]
    left.axvline(0, color="0.7", lw=0.8)
    left.errorbar(r, y, xerr=spread, fmt="none", ecolor=style.COLOURS[0], elinewidth=0.8)
    marked = chosen["q"].to_numpy() < effects.ALPHA
    left.plot(r[marked], y[marked], "o", ms=4, color=style.COLOURS[0], label="all heads, q < 0.05")
    left.plot(r[~marked], y[~marked], "o", ms=4, mfc="white", mec=style.COLOURS[0], label="all heads")
    left.plot(chosen["r_within"], y, "x", ms=4, color=style.COLOURS[1], label="within layers")
    ceiling = float(np.sqrt(max(first["reliability"][0], 0)))
    for side in (-ceiling, ceiling):
        left.axvline(side, color="0.5", lw=0.8, ls=":", label="ceiling (noise of importances)" if side < 0 else None)
    left.set_xlim(-1.02, 1.02)
    left.set_xlabel("rank correlation (95 %)")
    for axes in others:
        _matrix(axes, rows, names, conditions)
    left.set_yticks(y, [_words(name) for name in names], fontsize=paper.tiny())  # after the matrix, which thins them
    left.set_ylim(len(names) - 0.5, -0.5)
    handles, _ = left.get_legend_handles_labels()
    labels.footer(figure, ["bars: 95 % over heads"], handles=handles)
    row = rows.row(0, named=True)
    some = f"{len(names)} of {len(first)} " if len(first) > len(names) else ""
    by = scale.replace("_", " ")
    told = f"{style.short(row['model'])}: {some}measures and importance by {by}, {row['n_heads']} heads"
    labels.headline(figure, told)
    return figure


def _matrix(axes: Axes, rows: pl.DataFrame, names: list[tuple], conditions: list[tuple]) -> None:
    values = np.full((len(names), len(conditions)), np.nan)
    place = {name: index for index, name in enumerate(names)}
    where = {condition: index for index, condition in enumerate(conditions)}
    for *name, shift, corruption, severity, r in rows.select(*NAMES, *effects.CONDITION, "r").iter_rows():
        if tuple(name) in place:
            values[place[tuple(name)], where[shift, corruption, severity]] = r
    image = style.heat_map(axes, values, norm=style.symmetric_norm([np.ones(1)]))
    labels.grouped_ticks(axes, [words.plain(corruption or shift) for shift, corruption, _ in conditions])
    axes.tick_params(axis="y", labelleft=False)
    style.colour_bar(image, [axes], label="rank correlation", share=0.04)


def _words(name: tuple[str, str | None, str, str]) -> str:
    metric, of, query, weighting = name
    told = [metric.replace("_", " ")] + ([of] if of else [])
    told += [f"({query})"] if query not in ("none", "all", "patches") else []
    return " ".join(told) + (", by value" if weighting == "value" else "")
