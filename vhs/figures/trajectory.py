"""How much each head matters in the snapshots of one training run."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from vhs.errors import InputError
from vhs.figures import effects, style
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


def summary(table: pl.DataFrame, scale: str = "loss") -> Figure:
    """Over the updates of each run: how unequal heads are (Gini), and how their importances go with the end's."""
    rows = table.filter(pl.col("scale") == scale)
    if not len(rows):
        raise InputError(f"the table has no scale {scale}; it has {', '.join(table['scale'].unique().sort())}.")
    runs = rows["run"].unique(maintain_order=True).to_list()
    figure = style.new(6.2, 2.9)
    panels = figure.subplots(1, 2)
    words = ("inequality of importances (Gini)", "rank correlation with the end")
    for axes, (column, label) in zip(panels, zip(("gini", "r"), words, strict=True), strict=True):
        for run, colour in zip(runs, style.colours(len(runs)), strict=True):
            own = rows.filter(pl.col("run") == run)
            for shifted, part in own.group_by(pl.col("shift") != "clean", maintain_order=True):
                mean = part.group_by("step").agg(pl.col(column, f"{column}_lo", f"{column}_hi").mean()).sort("step")
                stroke = CONDITIONS["shifted" if shifted[0] else "clean"]
                axes.plot(mean["step"], mean[column], stroke, marker="o", ms=3, color=colour, lw=1.2,
                          label=style.short(run) + (", under shift" if shifted[0] else ""))  # fmt: skip
                if not shifted[0]:
                    low, high = mean[f"{column}_lo"], mean[f"{column}_hi"]
                    axes.fill_between(mean["step"], low, high, color=colour, alpha=0.15, lw=0)
        axes.set_xscale("symlog", linthresh=1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_title(label, loc="left", fontsize=9)
        axes.set_xlabel("updates (log scale)")
    ceiling = (
        rows.filter(pl.col("shift") == "clean").group_by("step").agg(pl.col("reliability", "reliability_end").mean())
    )
    ceiling = ceiling.sort("step")
    allowed = effects.ceiling(ceiling["reliability"], ceiling["reliability_end"])
    panels[1].plot(ceiling["step"], allowed, ":", color="0.4", lw=1, label="ceiling (noise)")
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7.5)
    return figure
