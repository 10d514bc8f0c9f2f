"""Which measures of heads go with how much heads matter."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, style
from vhs.formats.tables import condition_name

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
    figure = style.new(5.2 + 0.09 * len(conditions), 0.2 * len(names) + 1.5)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.6, max(0.6, 0.045 * len(conditions))])
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
    left.set_xlabel("rank correlation (95 % over heads)")
    _matrix(right, rows, names, conditions)
    left.set_yticks(y, [_words(name) for name in names], fontsize=7)  # after the matrix, which thins them
    left.set_ylim(len(names) - 0.5, -0.5)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=7)
    row = rows.row(0, named=True)
    some = f"{len(names)} of {len(first)} " if len(first) > len(names) else ""
    by = scale.replace("_", " ")
    told = f"{style.short(row['model'])}: {some}measures and importance by {by}, {row['n_heads']} heads"
    figure.suptitle(told, fontsize=9)
    return figure


def _matrix(axes: Axes, rows: pl.DataFrame, names: list[tuple], conditions: list[tuple]) -> None:
    values = np.full((len(names), len(conditions)), np.nan)
    place = {name: index for index, name in enumerate(names)}
    where = {condition: index for index, condition in enumerate(conditions)}
    for *name, shift, corruption, severity, r in rows.select(*NAMES, *effects.CONDITION, "r").iter_rows():
        if tuple(name) in place:
            values[place[tuple(name)], where[shift, corruption, severity]] = r
    image = style.heat_map(axes, values, norm=style.symmetric_norm([np.ones(1)]))
    named = [
        condition_name(*condition).rpartition("/")[2].partition(":")[0].replace("_", " ") for condition in conditions
    ]
    starts = [index for index, name in enumerate(named) if index == 0 or name != named[index - 1]]
    ends = [*starts[1:], len(named)]
    axes.set_xticks([(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)], [named[a] for a in starts],
                    rotation=90, fontsize=7)  # fmt: skip
    axes.tick_params(axis="y", labelleft=False)
    style.colour_bar(image, [axes], label="rank correlation", share=0.04)


def _words(name: tuple[str, str | None, str, str]) -> str:
    metric, of, query, weighting = name
    told = [metric.replace("_", " ")] + ([of] if of else [])
    told += [f"({query})"] if query not in ("none", "all", "patches") else []
    return " ".join(told) + (", by value" if weighting == "value" else "")
