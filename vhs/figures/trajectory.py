"""How much each head matters in the snapshots of one training run."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, SymmetricalLogLocator

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style, words
from vhs.figures.effects import METRICS, single_fill
from vhs.grid import head_name

COLUMNS = 6
CONDITIONS = {"clean": "-", "shifted": "--"}


def lines(table: pl.DataFrame, metric: str = "drop") -> Figure:
    """One panel a head over the updates: solid on clean images, dashed averaged over shifts.

    Bands are 95 % intervals of single conditions. Raises InputError for tables of fewer than two snapshots.
    """
    heads = single_fill(table)
    if heads["step"].drop_nulls().n_unique() < 2:
        raise InputError("the table holds one update of training, a trajectory needs several. Ablate --snapshots too.")
    parts = [(head_name(layer, head), rows) for (layer, head), rows in heads.sort("layer", "head").group_by(
        "layer", "head", maintain_order=True)]  # fmt: skip
    parts = paper.keep(parts, lambda item: item[0])
    across = min(COLUMNS, heads["head"].n_unique()) if paper.current().width is None else COLUMNS
    figure, panels = style.panels(len(parts), across, (1.35, 1.0), (0.5, 0.9), least=0.48)
    for axes, (name, rows) in zip(panels, parts, strict=True):
        _panel(axes, rows, metric)
        axes.set_title(name, fontsize=paper.small(), pad=2)
    label, unit, _ = METRICS[metric]
    labels.label_below(panels, "updates (log scale)")
    figure.supylabel(f"{label} ({unit})")
    _legend(figure, heads)
    row = heads.row(0, named=True)
    labels.headline(
        figure,
        f"{style.short(row['model'])} and its snapshots on {row['data']}, n = {row['n']:,}: every head while it learns",
    )
    return figure


def _panel(axes: Axes, heads: pl.DataFrame, metric: str) -> None:
    scale = METRICS[metric][2]
    shown = [metric, f"{metric}_lo", f"{metric}_hi"]
    axes.axhline(0, color="0.6", lw=0.6)
    for (shifted,), part in heads.group_by(pl.col("shift") != "clean", maintain_order=True):
        means = part.group_by("step").agg(pl.col(shown).mean() * scale, pl.len().alias("count")).sort("step")
        kind = "shifted" if shifted else "clean"
        colour = style.COLOURS[bool(shifted)]
        axes.plot(means["step"], means[metric], CONDITIONS[kind], color=colour, lw=1.1)
        if int(means["count"].max()) == 1:  # type: ignore[arg-type]  # a mean over conditions has no interval here
            axes.fill_between(means["step"], means[shown[1]], means[shown[2]], color=colour, alpha=0.18, lw=0)
    _log_axis(axes)
    axes.grid(axis="y", color="0.92")


def _log_axis(axes: Axes) -> None:
    """Updates from 0 on, few labels."""
    axes.set_xscale("symlog", linthresh=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    locator = SymmetricalLogLocator(base=10, linthresh=1)
    locator.set_params(numticks=4)
    axes.xaxis.set_major_locator(locator)
    axes.tick_params(axis="x", labelsize=paper.tiny())


def _legend(figure: Figure, heads: pl.DataFrame) -> None:
    shifted = heads.filter(pl.col("shift") != "clean").select("shift", "corruption", "severity").unique().height
    handles = [Line2D([], [], color=style.COLOURS[0], label="clean, 95 % interval")]
    if shifted:
        told = "under shift, 95 % interval" if shifted == 1 else f"mean of {shifted} shifted conditions"
        handles.append(Line2D([], [], color=style.COLOURS[1], ls="--", label=told))
    labels.footer(figure, [], handles=handles)


def summary(table: pl.DataFrame, scale: str = "loss") -> Figure:
    """Over the updates of each run: how unequal heads are (Gini), and how their importances go with the end's."""
    rows = table.filter(pl.col("scale") == scale)
    if not len(rows):
        raise InputError(f"the table has no scale {scale}; it has {', '.join(table['scale'].unique().sort())}.")
    runs = rows["run"].unique(maintain_order=True).to_list()
    figure, panels = style.panels(2, 2, (3.1, 2.4), (0.2, 0.8), shared=False, least=0.8)
    told = {"gini": "inequality of importances (Gini)", "r": "rank correlation with the end"}
    for axes, (column, label) in zip(panels, told.items(), strict=True):
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
        _log_axis(axes)
        labels.title(axes, label)
    ceiling = (
        rows.filter(pl.col("shift") == "clean").group_by("step").agg(pl.col("reliability", "reliability_end").mean())
    )
    ceiling = ceiling.sort("step")
    allowed = effects.ceiling(ceiling["reliability"], ceiling["reliability_end"])
    panels[1].plot(ceiling["step"], allowed, ":", color="0.4", lw=1, label="ceiling (noise)")
    handles, _ = panels[1].get_legend_handles_labels()
    labels.label_below(panels, "updates (log scale)")
    labels.footer(figure, ["bands: 95 % interval, on clean images"], handles=handles)
    row = rows.row(0, named=True)
    labels.headline(
        figure,
        f"importance of heads by {words.plain(scale)} on {row['data']}, {row['n_heads']} heads, n = {row['n']:,}",
    )
    return figure
