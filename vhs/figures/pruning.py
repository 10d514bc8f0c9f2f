"""Accuracy, loss and calibration against how many heads are left, by order."""

from __future__ import annotations

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.figures import labels, paper, style, words

METRICS = {
    "top1": ("top-1 accuracy (%)", 100),
    "loss": ("loss (nats)", 1),
    "ece": ("expected calibration error (%)", 100),
}
MOST_PANELS, MOST_BANDS = 3, 3
"""Conditions that are drawn; orders that have room for bands and for what they have on the images that chose them."""
LINES = ("-", "--", "-.")
CONTROL = "0.55"
NO_CHOICE = ("single",)


def curves(table: pl.DataFrame, metric: str = "top1") -> Figure:
    """A row of panels a model: clean, then the mean of the shifts, or the shifts; a line an order."""
    models = table.partition_by("model_id", maintain_order=True)
    every = _conditions(table, metric)
    places = every[:MOST_PANELS]
    orders = _orders(table)
    drawn = [(_title(model, place, alone=len(models) == 1), model, place) for model in models for place in places]
    drawn = paper.keep(drawn, lambda item: item[0])
    figure, panels = style.panels(len(drawn), len(places), (3.0, 2.4), (0.5, 1.1), least=0.5)
    for axes, (name, model, place) in zip(panels, drawn, strict=True):
        _panel(axes, model.join(place, on=place.columns, nulls_equal=True), orders, metric)
        labels.title(axes, name)
    labels.label_below(panels, "heads left")
    figure.supylabel(METRICS[metric][0])
    _legend(figure, panels[0], table, orders)
    _name(figure, table, _left_out(places, every), banded=metric == "top1" and len(orders) <= MOST_BANDS)
    return figure


def _left_out(places: list[pl.DataFrame], every: list[pl.DataFrame]) -> str:
    return "" if len(places) == len(every) else f"; the first {len(places)} of {len(every)} conditions"


def _conditions(table: pl.DataFrame, metric: str) -> list[pl.DataFrame]:
    """Frames of one row: what is drawn. Calibration has no mean over conditions."""
    keys = ["over", "shift", "corruption", "severity"]
    found = table.filter(pl.col(metric).is_not_null()).select(keys).unique(maintain_order=True)
    clean = found.filter(pl.col("shift") == "clean")
    mean = found.filter(pl.col("over") == "mean")
    rest = found.filter((pl.col("over") == "condition") & (pl.col("shift") != "clean"))
    chosen = pl.concat([clean, mean if len(mean) else rest])
    return [chosen[index : index + 1] for index in range(len(chosen))]


def _orders(table: pl.DataFrame) -> list[str]:
    """Those that choose, in the table's order."""
    names = table["order"].unique(maintain_order=True).to_list()
    return [name for name in names if name not in NO_CHOICE and not name.startswith("random-")]


def _panel(axes: Axes, rows: pl.DataFrame, orders: list[str], metric: str) -> None:
    scale = METRICS[metric][1]
    report = rows.filter(pl.col("used_for") == "report")
    drawn = report.filter(pl.col("order").str.starts_with("random-")).group_by("heads_left").agg(
        low=pl.col(metric).min(), high=pl.col(metric).max(), mean=pl.col(metric).mean()).sort("heads_left")  # fmt: skip
    if len(drawn):
        x = drawn["heads_left"].to_numpy()
        axes.fill_between(x, drawn["low"].to_numpy() * scale, drawn["high"].to_numpy() * scale, color="0.88", lw=0)
        axes.plot(x, drawn["mean"].to_numpy() * scale, color=CONTROL, lw=1.2)
    for order, look in _looks(orders).items():
        own, colour = report.filter(pl.col("order") == order).sort("heads_left"), look["color"]
        x = own["heads_left"].to_numpy()
        axes.plot(x, own[metric].to_numpy() * scale, markersize=2.2, lw=1.3, **look)
        if f"{metric}_lo" in own.columns and len(orders) <= MOST_BANDS:
            lo, hi = (own[f"{metric}_{end}"].to_numpy() * scale for end in ("lo", "hi"))
            axes.fill_between(x, lo, hi, color=colour, alpha=0.15, lw=0)
        if len(orders) <= MOST_BANDS:
            chose = rows.filter((pl.col("order") == order) & (pl.col("used_for") == "choose")).sort("heads_left")
            axes.plot(chose["heads_left"].to_numpy(), chose[metric].to_numpy() * scale, ":", color=colour, lw=1)
    _mark_certified(axes, rows, metric)
    axes.set_xlim(float(rows["heads_left"].max()), 0)  # type: ignore[arg-type]
    axes.grid(axis="y", color="0.92")


def _looks(orders: list[str]) -> dict[str, dict[str, Any]]:
    """Colours of the palette, then again with other lines."""
    count = len(style.COLOURS) - 1  # black is for what is certified
    return {
        order: {"color": style.COLOURS[index % count], "ls": LINES[index // count % len(LINES)], "marker": "o"}
        for index, order in enumerate(orders)
    }


def _mark_certified(axes: Axes, rows: pl.DataFrame, metric: str) -> None:
    passed = rows.filter(pl.col("certified").fill_null(False)).sort("heads_left")
    if len(passed):
        x, y = float(passed["heads_left"][0]), float(passed[metric][0]) * METRICS[metric][1]
        axes.plot([x], [y], "D", color="black", markersize=5, markeredgecolor="white", zorder=5)


def _title(model: pl.DataFrame, place: pl.DataFrame, *, alone: bool) -> str:
    over, shift, corruption, severity = place.row(0)
    named = words.condition(shift, corruption, severity)
    if over == "mean":
        count = model.filter((pl.col("over") == "condition") & (pl.col("shift") != "clean")).select(
            "shift", "corruption", "severity").n_unique()  # fmt: skip
        named = f"mean of {count} conditions"
    return named if alone else f"{style.short(model['model'][0])}, {named}"


def _legend(figure: Figure, axes: Axes, table: pl.DataFrame, orders: list[str]) -> None:
    handles = [axes.plot([], [], lw=1.3, **(look | {"marker": ""}))[0] for look in _looks(orders).values()]
    names = list(orders)
    drawn = table.filter(pl.col("order").str.starts_with("random-"))["order"].n_unique()
    if drawn:
        handles.append(axes.plot([], [], color=CONTROL, lw=1.2)[0])
        names.append(f"{drawn} random orders: mean, range")
    if len(orders) <= MOST_BANDS:
        handles.append(axes.plot([], [], ":", color="black", lw=1)[0])
        names.append("on the images that chose")
    tested = table.filter(pl.col("certified").fill_null(False))
    if len(tested):
        handles.append(axes.plot([], [], "D", color="black", markersize=5, ls="")[0])
        names.append(f"certified: at most {tested['epsilon'][0] * 100:g} points lost")
    for handle, name in zip(handles, names, strict=True):
        handle.set_label(name)
    labels.footer(figure, [], handles=handles)


def _name(figure: Figure, table: pl.DataFrame, left_out: str, *, banded: bool) -> None:
    """Whose curves these are, of how many images."""
    counts = table.filter(pl.col("used_for") == "report")["n"]
    least, most = counts.to_numpy().min(), counts.to_numpy().max()
    n = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    models = table["model"].unique(maintain_order=True).to_list()
    who = f"{style.short(models[0])}, " if len(models) == 1 else ""
    band = ", 95 % interval" if banded else ""
    labels.headline(figure, f"{who}{table['data'][0]}, {n} images that did not choose{band}{left_out}")
