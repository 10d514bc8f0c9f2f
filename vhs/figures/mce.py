"""The mCE chart: corruption errors by corruption, with category means and the mean of all."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import labels, paper, style, words

NAMES = {
    "mce": "corruption error / AlexNet's (%)", "mce_generated": "corruption error / AlexNet's (%), generated images",
    "mce_normalised": "corruption error / {by}'s (%)", "mean_error": "mean error (%)",
}  # fmt: skip


def bars(table: pl.DataFrame, metric: str = "ce") -> Figure:
    """One group of bars a corruption, one bar a model; lines mark each model's mean over the 15."""
    if table["metric"].n_unique() > 1 or table["normalised_by"].n_unique() > 1:
        raise InputError("the tables are normalised in unlike ways and cannot share an axis. Draw them apart.")
    if table["ce"].null_count():
        metric = "error"
    names = _rows(table)
    models = table["model"].unique(maintain_order=True).to_list()
    models = paper.keep(models, style.short) if paper.current().panel else models
    figure = style.new(6.0, 1.3 + len(names) * max(0.19, 0.11 * len(models) + 0.06))
    axes = figure.subplots()
    for number, model in enumerate(models):
        _model(axes, table.filter(pl.col("model") == model), names, (number, len(models)), metric)
    axes.set_yticks(range(len(names)), [name for _, _, name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(labels.wrapped(_label(table, metric), figure.get_figwidth() - 1.4))
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    handles, _ = axes.get_legend_handles_labels()
    bounded = table["lo"].null_count() == 0
    told = (
        "bars: 95 % interval, by leaving out folds of images"
        if bounded
        else "no intervals: the table's folds were not given"
    )
    labels.footer(figure, [f"dotted: mean of all; {told}"], handles=handles)
    row = table.row(0, named=True)
    labels.headline(figure, f"{row['data']}, n = {row['n']:,} images a condition, frost: {row['frost']}")
    return figure


def _rows(table: pl.DataFrame) -> list[tuple[str, str | None, str]]:
    """(corruption, category, label): the corruptions by category, each category's mean after them, all last."""
    cells = table.filter(pl.col("model") == table["model"][0]).select("corruption", "category").rows()
    rows = []
    for category in dict.fromkeys(category for _, category in cells if category):
        names = [name for name, other in cells if other == category and name != "all"]
        rows += [(name, category, words.plain(name)) for name in names]
        rows.append(("all", category, f"mean of {category}"))
    return [*rows, ("all", None, "mean of 15")]


def _model(
    axes: Axes, rows: pl.DataFrame, names: list[tuple[str, str | None, str]], place: tuple[int, int], metric: str
) -> None:
    number, models = place
    cells = {(row["corruption"], row["category"]): row for row in rows.iter_rows(named=True)}
    values = [cells[name, category][metric] * 100 for name, category, _ in names]
    height = 0.8 / models
    y = [index - 0.4 + height * (number + 0.5) for index in range(len(names))]
    colour = style.colours(models)[number]
    label = f"{style.short(rows['model'][0])}: mean {values[-1]:.1f} %"
    alphas = [1.0 if name == "all" else 0.55 for name, _, _ in names]
    for index, (at, value, alpha) in enumerate(zip(y, values, alphas, strict=True)):
        axes.barh(at, value, height * 0.92, color=colour, alpha=alpha, label=label if index == len(y) - 1 else None)
    spread = [(cells[name, category]["lo"], cells[name, category]["hi"]) for name, category, _ in names]
    if all(lo is not None for lo, _ in spread):
        sides = [[v - lo * 100 for v, (lo, _) in zip(values, spread, strict=True)],
                 [hi * 100 - v for v, (_, hi) in zip(values, spread, strict=True)]]  # fmt: skip
        axes.errorbar(values, y, xerr=sides, fmt="none", ecolor="0.2", elinewidth=0.8, capsize=1.5)
    axes.axvline(values[-1], color=colour, lw=0.8, ls=":")


def _label(table: pl.DataFrame, metric: str) -> str:
    name = NAMES["mean_error" if metric == "error" else table["metric"][0]].format(by=table["normalised_by"][0])
    return name
