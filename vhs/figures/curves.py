"""Curves of accuracy against severity."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vhs.figures import groups, labels, paper, seeds, style, words

COLUMNS = 5
LABELS = {
    "top1": "top-1 accuracy (%)", "top5": "top-5 accuracy (%)", "loss": "loss (nats)",
    "ece": "expected calibration error (%)",
}  # fmt: skip


def severity(table: pl.DataFrame, metric: str = "top1") -> Figure:
    """One panel a corruption, one line a model or group of models; the clean score is severity 0.

    A table without corruptions becomes one line a shift set.
    """
    names = table.filter(pl.col("corruption").is_not_null())["corruption"].unique(maintain_order=True).to_list()
    if not names:
        return groups.shift_sets(table, metric)
    table = table.filter((pl.col("group") == "all") & (pl.col("label_set") == "all"))
    names = paper.keep(names, words.plain)
    scale = 1 if metric == "loss" else 100
    lines = seeds.lines(table, ["shift", "corruption", "severity"], metric, scale)
    figure, panels = style.panels(len(names), COLUMNS, (1.65, 1.45), (0.5, 0.9), least=0.52)
    for axes, name in zip(panels, names, strict=True):
        _panel(axes, lines, name)
        labels.title(axes, words.plain(name))
    chance = _chance(table) if metric == "top1" else None
    for axes in panels:
        if chance is not None:
            axes.axhline(chance, color="0.5", lw=0.8, ls=":")
    labels.label_below(panels, "severity (0: clean)")
    figure.supylabel(LABELS[metric])
    _legend(figure, lines, chance)
    who = f"{lines[0].name} on " if len(lines) == 1 else ""
    labels.headline(figure, f"{who}{table['data'][0]}, n = {table['n'][0]:,} images a condition")
    return figure


def _panel(axes: Axes, lines: list[seeds.Line], name: str) -> None:
    for colour, line in zip(style.colours(len(lines)), lines, strict=True):
        own = line.rows.filter((pl.col("corruption") == name) | (pl.col("shift") == "clean")).sort("severity")
        axes.plot(own["severity"], own["value"], "o-", color=colour, markersize=2.5, lw=1.2)
        known = own.drop_nulls(["lo", "hi"])
        if len(known):
            axes.fill_between(known["severity"], known["lo"], known["hi"], color=colour, alpha=0.2, lw=0)
    axes.set_xticks(range(6))
    axes.grid(axis="y", color="0.92")


def _chance(table: pl.DataFrame) -> float | None:
    """Percent that guessing answers right, where the table says among how many; one number for all."""
    known = table["n_classes"].drop_nulls().unique().to_list() if "n_classes" in table.columns else []
    return 100 / known[0] if len(known) == 1 else None


def _legend(figure: Figure, lines: list[seeds.Line], chance: float | None) -> None:
    handles = [
        Line2D([], [], color=colour, marker="o", ms=3, label=line.name)
        for colour, line in zip(style.colours(len(lines)), lines, strict=True) if len(lines) > 1
    ]  # fmt: skip
    if chance is not None:
        handles.append(Line2D([], [], color="0.5", lw=0.8, ls=":", label=f"chance, {chance:g} %"))
    bands = [lines[0].band] if any(line.rows["lo"].count() for line in lines) else []
    if handles or bands:
        labels.footer(figure, bands, handles=handles)
