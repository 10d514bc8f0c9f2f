"""Curves: accuracy against severity, and training against time."""

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
    figure.supylabel(_label(metric) + ", 95 % interval", fontsize=9)
    _legend(figure, panels[0], table)
    return figure


def training(table: pl.DataFrame, metric: str = "top1") -> Figure:
    """Loss and validation accuracy by epoch."""
    del metric  # both are drawn
    figure = style.new(7.2, 3.0)
    left, right = figure.subplots(1, 2)
    epoch = table["epoch"].to_numpy()
    left.plot(epoch, table["train_loss"], color=style.COLOURS[0], label="training, as optimised")
    left.plot(epoch, table["loss"], color=style.COLOURS[1], label="validation")
    left.set_ylabel("loss (nats)")
    left.legend()
    right.plot(epoch, table["top1"] * 100, color=style.COLOURS[1])
    right.set_ylabel("validation accuracy (%)")
    right.set_title(f"last epoch {table['top1'][-1]:.1%}, n = {table['n'][-1]:,}", loc="left")
    for axes in (left, right):
        axes.set_xlabel(f"epoch ({table['step'][0]} updates each)")
        axes.grid(axis="y", color="0.92")
    return figure


def training_regression(table: pl.DataFrame, metric: str = "r2") -> Figure:
    """Training loss, and R² of each target on the validation split, by epoch."""
    del metric  # both are drawn
    figure = style.new(7.2, 3.0)
    left, right = figure.subplots(1, 2)
    targets = table.partition_by("target", maintain_order=True)
    left.plot(targets[0]["epoch"], targets[0]["train_loss"], color="0.2", label="training, all targets")
    for colour, part in zip(style.COLOURS, targets, strict=False):
        name = f"{part['target'][0].replace('_', ' ')} ({part['r2'][-1]:.2f})"
        left.plot(part["epoch"], part["mse"], color=colour, lw=1)
        right.plot(part["epoch"], part["r2"], color=colour, label=name)
    left.set_ylabel("squared error (deviations²)")
    left.legend()
    right.set_ylabel("validation R²")
    right.set_ylim(min(0.0, float(table["r2"].min() or 0)), 1.02)  # type: ignore[arg-type]
    right.legend(title=f"last epoch, n = {table['n'][-1]:,}", loc="lower right")
    for axes in (left, right):
        axes.set_xlabel(f"epoch ({targets[0]['step'][0]} updates each)")
        axes.grid(axis="y", color="0.92")
    return figure


def _panel(axes: Axes, table: pl.DataFrame, name: str, metric: str) -> None:
    wanted = table.filter((pl.col("corruption") == name) | (pl.col("shift") == "clean"))
    for colour, (_, rows) in zip(_cycle(table), wanted.group_by("model", maintain_order=True), strict=False):
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
        handles = [
            axes.plot([], [], "o-", color=c, markersize=3)[0] for c, _ in zip(_cycle(table), models, strict=False)
        ]
        figure.legend(handles, [style.short(model) for model in models], loc="outside upper center", ncols=4)
    else:
        figure.suptitle(f"{style.short(models[0])} on {table['data'][0]}, n = {table['n'][0]:,}", fontsize=10)


def _cycle(table: pl.DataFrame) -> list[str]:
    models = table["model"].n_unique()
    return [style.COLOURS[index % len(style.COLOURS)] for index in range(models)]


def _label(metric: str) -> str:
    return {"top1": "top-1 accuracy (%)", "top5": "top-5 accuracy (%)", "loss": "loss (nats)"}.get(
        metric, f"{metric} (%)"
    )
