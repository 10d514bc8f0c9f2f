"""Many models: effective robustness, recipes side by side, and what goes with robustness."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style, words

PRIMARY, PREDICTS = "jsd_layer", "predicts"
MOST = 16
TICKS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99)
"""Percent."""
INTERVAL = ("effective_lo", "effective_hi")
NEAREST = 1e-4
"""Shares that are drawn keep so far from 0 and 1, which the probit scale has not."""
SPAN = 0.35
"""Of the axes around one model alone, on each side, in deviations: 12 points at an accuracy of 70 %."""


def effective(table: pl.DataFrame, _metric: str = "effective") -> Figure:
    """Shifted against clean accuracy, a dot a model, on the probit scale; hollow where too few are like it."""
    if not len(table):
        raise InputError("the table has no rows.")
    first = table.filter(pl.col("shift") == "mean").head(1) if (table["shift"] == "mean").any() else table.head(1)
    rows = table.join(first.select("shift", "corruption", "severity"), on=["shift", "corruption", "severity"],
                      how="semi", nulls_equal=True)  # fmt: skip
    under = words.condition(*first.select("shift", "corruption", "severity").row(0))
    figure = style.new(4.6, 3.6)
    axes = figure.subplots()
    recipes = rows["recipe"].unique(maintain_order=True).to_list()
    for recipe, colour in zip(recipes, style.colours(len(recipes)), strict=True):
        own = rows.filter(pl.col("recipe") == recipe)
        known = own["effective"].is_not_null().to_numpy()
        x, y = (_probit(own[name].to_numpy()) for name in ("clean", "shifted"))
        axes.plot(x[known], y[known], "o", ms=4, color=colour, label=recipe)
        axes.plot(x[~known], y[~known], "o", ms=4, mfc="white", mec=colour)
        _bars(axes, own.drop_nulls(INTERVAL), colour)
    if rows["effective"].null_count():
        axes.plot([], [], "o", ms=4, mfc="white", mec="0.3", label="too few like it")
    line = rows.drop_nulls("expected").sort("clean")
    if len(line):
        axes.plot(_probit(line["clean"].to_numpy()), _probit(line["expected"].to_numpy()), color="0.5", lw=0.8,
                  label="expected")  # fmt: skip
    if len(rows) == 1:
        _of_one(axes, rows)
    for set_ticks, limits in ((axes.set_xticks, axes.get_xlim), (axes.set_yticks, axes.get_ylim)):
        low, high = limits()
        shares = _within(low, high)
        set_ticks([float(_probit(np.array(share / 100))) for share in shares], [f"{share}" for share in shares])
    axes.set_xlabel("clean accuracy (%, probit scale)")
    told = "mean accuracy under shift" if under == "mean" else f"accuracy under {under}"
    axes.set_ylabel(labels.wrapped(f"{told} (%, probit scale)", 2.2))
    handles, _ = axes.get_legend_handles_labels()
    labels.footer(figure, [], handles=handles)
    models = f"{len(rows)} models" if len(rows) > 1 else style.short(rows["model"][0])
    bars = ", bars: 95 %" if len(rows.drop_nulls(INTERVAL)) else ""
    labels.headline(figure, f"{models} on {rows['data'][0]}, by recipe{bars}")
    return figure


def _bars(axes: Axes, rows: pl.DataFrame, colour: str) -> None:
    """The interval of what lies beyond the line, from the line on."""
    low, high = (_probit((rows["expected"] + rows[name]).clip(NEAREST, 1 - NEAREST).to_numpy()) for name in INTERVAL)
    axes.vlines(_probit(rows["clean"].to_numpy()), low, high, color=colour, lw=0.8)


def _within(low: float, high: float) -> list[int]:
    """Percents to write on a probit axis: of TICKS, or at even steps where fewer than two of these are seen."""
    for percents in (TICKS, range(5, 100, 5), range(2, 100, 2), range(1, 100)):
        found = [share for share in percents if low <= _probit(np.array(share / 100)) <= high]
        if len(found) > 1:
            break
    return found


def _of_one(axes: Axes, rows: pl.DataFrame) -> None:
    """One model alone: what is expected is a dash instead of a line, and the axes span what can be told apart."""
    x, y = (float(_probit(rows[name].to_numpy())[0]) for name in ("clean", "shifted"))
    expected = y if rows["expected"][0] is None else float(_probit(np.array(rows["expected"][0])))
    if rows["expected"][0] is not None:
        axes.plot(x, expected, "_", ms=14, color="0.5")
    axes.set_xlim(x - SPAN, x + SPAN)
    axes.set_ylim(min(y, expected) - SPAN, max(y, expected) + SPAN)


def _probit(share: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri

    return ndtri(share)


def answers(table: pl.DataFrame, _metric: str = "value") -> Figure:
    """Above, each recipe: specialization, clean and shifted accuracy, with intervals over seeds; below, the measures
    that go with shifted accuracy where clean accuracy is held fixed."""
    told = {"jsd_layer": ("mean", 1.0, "JSD within layers (nats)"),
            "clean": ("accuracy", 100.0, "clean accuracy (%)"),
            "shifted": ("accuracy", 100.0, "accuracy under shift (%)")}  # fmt: skip
    names = ["specialization", "clean accuracy", "accuracy under shift", "what goes with it"]
    kept = paper.keep(list(zip(names, [*told, PREDICTS], strict=True)), lambda item: item[0])
    above = [what for _, what in kept if what != PREDICTS]
    rows = _of_recipes(table)
    heights = [0.2 * rows["recipe"].n_unique() + 0.8] * bool(above) + [0.17 * MOST + 1.0] * (len(above) < len(kept))
    figure = style.new(6.4, sum(heights) + 0.4)
    grid = figure.add_gridspec(len(heights), max(len(above), 1), height_ratios=heights)
    for column, what in enumerate(above):
        axes = figure.add_subplot(grid[0, column])
        statistic, factor, label = told[what]
        own = rows.filter((pl.col("what") == what) & (pl.col("statistic") == statistic))
        _intervals(axes, own, own["recipe"].to_list() if column == 0 else [""] * len(own), factor)
        labels.label_below([axes], label)
    if len(above) < len(kept):
        _predictors(figure.add_subplot(grid[-1, :]), table)
    labels.headline(figure, "recipes, 95 % over seeds; below at equal clean accuracy; filled: q < 0.05")
    return figure


def _of_recipes(table: pl.DataFrame) -> pl.DataFrame:
    return table.filter(pl.col("question") == "recipe")


def _predictors(axes: Axes, table: pl.DataFrame) -> None:
    rows = table.filter(
        (pl.col("question") == PREDICTS) & (pl.col("statistic") == "mean") & pl.col("against").is_null()
    )
    rows = rows.with_columns(size=pl.col("value").abs(), named=pl.col("what") == PRIMARY)
    chosen = rows.sort("named", "size", descending=True, maintain_order=True).head(MOST)
    _intervals(axes, chosen, [_name(row) for row in chosen.iter_rows(named=True)], 1.0)
    axes.set_xlim(-1.02, 1.02)
    count = chosen["n_models"][0] if len(chosen) else 0
    axes.set_xlabel("partial correlation (95 % over runs)")
    told = f"{len(chosen)} of {len(rows)} measures over {count} checkpoints"
    axes.set_title(
        labels.wrapped(f"with accuracy under shift: {told}", 2.0 if paper.narrow() else 5.0), fontsize=paper.small()
    )


def _name(row: dict[str, str | None]) -> str:
    query = f"({row['query']})" if row["query"] not in ("none", "all", "patches") else None
    return " ".join(part for part in (str(row["what"]).replace("_", " "), row["of"], query) if part)


def _intervals(axes: Axes, rows: pl.DataFrame, names: list[str], factor: float) -> None:
    y = np.arange(len(rows))
    value, lo, hi = (rows[name].cast(pl.Float64).to_numpy() * factor for name in ("value", "lo", "hi"))
    axes.errorbar(value, y, xerr=[value - lo, hi - value], fmt="none", ecolor=style.COLOURS[0], elinewidth=0.9)
    tested = rows.select(pl.coalesce("q", "p")).to_series()
    filled = np.array([p is None or p < effects.ALPHA for p in tested])
    axes.plot(value[filled], y[filled], "o", ms=4, color=style.COLOURS[0])
    axes.plot(value[~filled], y[~filled], "o", ms=4, mfc="white", mec=style.COLOURS[0])
    axes.set_yticks(y, names, fontsize=paper.tiny())
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if len(rows) and (lo < 0).any():
        axes.axvline(0, color="0.7", lw=0.8)
