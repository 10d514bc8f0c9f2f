"""Many models: effective robustness, recipes side by side, and what goes with robustness."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, style

PRIMARY = "jsd_layer"
MOST = 16
TICKS = (1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99)
"""Percent."""


def effective(table: pl.DataFrame, _metric: str = "effective") -> Figure:
    """Shifted against clean accuracy, a dot a model, on the probit scale; hollow where too few are like it."""
    rows = table.filter(pl.col("shift") == "mean")
    if not len(rows):
        raise InputError("the table has no mean over conditions.")
    figure = style.new(4.6, 3.6)
    axes = figure.subplots()
    recipes = rows["recipe"].unique(maintain_order=True).to_list()
    for recipe, colour in zip(recipes, style.colours(len(recipes)), strict=True):
        own = rows.filter(pl.col("recipe") == recipe)
        known = own["effective"].is_not_null().to_numpy()
        x, y = (_probit(own[name].to_numpy()) for name in ("clean", "shifted"))
        axes.plot(x[known], y[known], "o", ms=4, color=colour, label=recipe)
        axes.plot(x[~known], y[~known], "o", ms=4, mfc="white", mec=colour)
    if rows["effective"].null_count():
        axes.plot([], [], "o", ms=4, mfc="white", mec="0.3", label="too few like it")
    line = rows.drop_nulls("expected").sort("clean")
    if len(line):
        axes.plot(_probit(line["clean"].to_numpy()), _probit(line["expected"].to_numpy()), color="0.5", lw=0.8,
                  label="expected")  # fmt: skip
    for set_ticks, limits in ((axes.set_xticks, axes.get_xlim), (axes.set_yticks, axes.get_ylim)):
        low, high = limits()
        shares = [share for share in TICKS
                  if low <= _probit(np.array(share / 100)) <= high]  # fmt: skip
        set_ticks([float(_probit(np.array(share / 100))) for share in shares], [f"{share}" for share in shares])
    axes.set_xlabel("clean accuracy (%, probit scale)")
    axes.set_ylabel("mean accuracy under shift (%, probit scale)")
    axes.legend(fontsize=7.5, title="recipe")
    axes.set_title(f"{len(rows)} models on {rows['data'][0]}", loc="left", fontsize=9)
    return figure


def _probit(share: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri

    return ndtri(share)


def answers(table: pl.DataFrame, _metric: str = "value") -> Figure:
    """Above, each recipe: specialization, clean and shifted accuracy, with intervals over seeds; below, the measures
    that go with shifted accuracy where clean accuracy is held fixed."""
    figure = style.new(6.4, 4.6)
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.6])  # type: ignore[misc]
    told = (("jsd_layer", "mean", 1.0, "specialization\n(divergence within layers, nats)"),
            ("clean", "accuracy", 100.0, "clean accuracy (%)"),
            ("shifted", "accuracy", 100.0, "under shift (%)"))  # fmt: skip
    for axes, (what, statistic, factor, words) in zip(np.ravel(above.subplots(1, 3, sharey=True)), told, strict=True):
        rows = table.filter(
            (pl.col("question") == "recipe") & (pl.col("what") == what) & (pl.col("statistic") == statistic)
        )
        _intervals(axes, rows, rows["recipe"].to_list(), factor)
        axes.set_xlabel(words, fontsize=8)
    rows = table.filter(
        (pl.col("question") == "predicts") & (pl.col("statistic") == "mean") & pl.col("against").is_null()
    )
    rows = rows.with_columns(size=pl.col("value").abs(), named=pl.col("what") == PRIMARY)
    chosen = rows.sort("named", "size", descending=True, maintain_order=True).head(MOST)
    axes = below.subplots()
    names = [_name(row) for row in chosen.iter_rows(named=True)]
    _intervals(axes, chosen, names, 1.0)
    axes.set_xlim(-1.02, 1.02)
    count = chosen["n_models"][0] if len(chosen) else 0
    axes.set_xlabel(
        f"partial correlation with accuracy under shift ({len(chosen)} of {len(rows)} measures)\n"
        f"{count} checkpoints, 95 % over runs; filled: q < .05"
    )
    return figure


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
    axes.set_yticks(y, names, fontsize=7.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if len(rows) and (lo < 0).any():
        axes.axvline(0, color="0.7", lw=0.8)
