"""How much each head matters in the snapshots of one training run."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from vhs.errors import InputError
from vhs.figures import style
from vhs.figures.effects import METRICS, single_fill

COLUMNS = 4
CONDITIONS = {"clean": "-", "shifted": "--"}


def lines(table: pl.DataFrame, metric: str = "drop") -> Figure:
    """One panel a layer, one line a head over the updates: solid on clean images, dashed averaged over shifts.

    Bands are 95 % intervals on clean images. Raises InputError for tables of fewer than two snapshots.
    """
    heads = single_fill(table)
    if heads["step"].drop_nulls().n_unique() < 2:
        raise InputError("the table holds one update of training, a trajectory needs several. Ablate --snapshots too.")
    layers = heads["layer"].unique().sort().to_list()
    figure, panels = style.panels(len(layers), COLUMNS, (2.4, 2.0), (0.6, 0.8))
    colours = style.colours(1 + int(str(heads["head"].max())))
    for axes, layer in zip(panels, layers, strict=True):
        _panel(axes, heads.filter(pl.col("layer") == layer), metric, colours)
        axes.set_title(f"layer {layer}", loc="left")
    words, unit, _ = METRICS[metric]
    figure.supxlabel("updates (log scale)", fontsize=9)
    figure.supylabel(f"{words} ({unit})", fontsize=9)
    _legend(figure, heads, colours)
    return figure


def _panel(axes: Axes, heads: pl.DataFrame, metric: str, colours: list[str]) -> None:
    scale = METRICS[metric][2]
    shown = [metric, f"{metric}_lo", f"{metric}_hi"]
    axes.axhline(0, color="0.6", lw=0.6)
    for (head, shifted), part in heads.group_by("head", pl.col("shift") != "clean", maintain_order=True):
        means = part.group_by("step").agg(pl.col(shown).mean() * scale).sort("step")
        colour = colours[int(str(head))]
        axes.plot(means["step"], means[metric], CONDITIONS["shifted" if shifted else "clean"], color=colour, lw=1.2)
        if not shifted:
            axes.fill_between(means["step"], means[shown[1]], means[shown[2]], color=colour, alpha=0.15, lw=0)
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", color="0.92")


def _legend(figure: Figure, heads: pl.DataFrame, colours: list[str]) -> None:
    axes = figure.axes[0]
    names = heads["head"].unique().sort().to_list()
    handles = [axes.plot([], [], "-", color=colours[head])[0] for head in names]
    labels = [f"head {head}" for head in names]
    if (heads["shift"] != "clean").any():
        count = heads.filter(pl.col("shift") != "clean").select("shift", "corruption", "severity").unique().height
        handles += [axes.plot([], [], stroke, color="0.3")[0] for stroke in CONDITIONS.values()]
        labels += ["clean", f"mean of {count} shifted conditions" if count > 1 else "shifted"]
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6))
