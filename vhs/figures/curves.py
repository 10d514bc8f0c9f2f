"""Curves of accuracy against severity."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.figures import groups, style

COLUMNS = 5


def severity(table: pl.DataFrame, metric: str = "top1") -> Figure:
    """One panel a corruption, one line a model; the clean score is severity 0.

    A table without corruptions becomes one line a shift set.
    """
    names = table.filter(pl.col("corruption").is_not_null())["corruption"].unique(maintain_order=True).to_list()
    if not names:
        return groups.shift_sets(table, metric)
    table = table.filter((pl.col("group") == "all") & (pl.col("label_set") == "all"))
    figure, panels = style.panels(len(names), COLUMNS, (2.1, 1.9), (0.6, 0.7))
    for place, name in zip(panels, names, strict=True):
        _panel(place, table, name, metric)
    figure.supxlabel("severity (0 = clean)", fontsize=9)
    banded = f"{metric}_lo" in table.columns
    figure.supylabel(_label(metric) + (", 95 % interval" if banded else ""), fontsize=9)
    _legend(figure, panels[0], table)
    return figure


def _panel(axes: Axes, table: pl.DataFrame, name: str, metric: str) -> None:
    wanted = table.filter((pl.col("corruption") == name) | (pl.col("shift") == "clean"))
    models = wanted.partition_by("model", maintain_order=True)
    for colour, rows in zip(style.colours(len(models)), models, strict=True):
        rows = rows.sort("severity")
        scale = 100 if metric in ("top1", "top5", "ece") else 1
        x, y = rows["severity"].to_numpy(), rows[metric].to_numpy() * scale
        axes.plot(x, y, "o-", color=colour, markersize=3, lw=1.3)
        if f"{metric}_lo" in rows.columns:
            axes.fill_between(
                x, rows[f"{metric}_lo"].to_numpy() * scale, rows[f"{metric}_hi"].to_numpy() * scale,
                color=colour, alpha=0.2, lw=0,
            )  # fmt: skip
        axes.axhline(y[0], color=colour, lw=0.7, ls=":")
    axes.set_title(name.replace("_", " "), loc="left")
    axes.set_xticks(range(6))
    axes.grid(axis="y", color="0.92")


def _legend(figure: Figure, axes: Axes, table: pl.DataFrame) -> None:
    models = table["model"].unique(maintain_order=True).to_list()
    if len(models) > 1:
        handles = [axes.plot([], [], "o-", color=c, markersize=3)[0] for c in style.colours(len(models))]
        figure.legend(handles, [style.short(model) for model in models], loc="outside upper center", ncols=4)
    else:
        figure.suptitle(f"{style.short(models[0])} on {table['data'][0]}, n = {table['n'][0]:,}", fontsize=10)


def _label(metric: str) -> str:
    return {
        "top1": "top-1 accuracy (%)", "top5": "top-5 accuracy (%)", "loss": "loss (nats)",
        "ece": "expected calibration error (%)",
    }.get(metric, f"{metric} (%)")  # fmt: skip
