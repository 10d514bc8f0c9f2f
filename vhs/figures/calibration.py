"""Reliability diagrams: how often answers are right, by how sure the model is of them."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vhs.figures import labels, paper, style, words
from vhs.measures.intervals import wilson

LEAST = 10
"""Images of a bin that is drawn."""


def reliability(table: pl.DataFrame, metric: str = "accuracy") -> Figure:
    """One panel a corruption, its severities from light to dark: accuracy of each bin of confidence, with its interval
    on clean images; the diagonal is a model that is as often right as it is sure."""
    del metric  # there is one
    rows = table.filter((pl.col("group") == "all") & (pl.col("label_set") == "all") & (pl.col("n") > 0))
    if rows["model"].n_unique() > 1:
        from vhs.figures.effects import check_one

        check_one(rows, "model")
    named = rows.with_columns(name=pl.coalesce("corruption", "shift"))
    parts = [(words.plain(str(name)), part) for (name,), part in named.group_by("name", maintain_order=True)]
    parts = paper.keep(parts, lambda item: item[0])
    figure, panels = style.panels(len(parts), 5, (1.6, 1.55), (0.5, 0.9), least=0.55)
    for axes, (name, part) in zip(panels, parts, strict=True):
        _panel(axes, part)
        labels.title(axes, f"{name}\nECE {_errors(part)}")
    labels.label_below(panels, "confidence (%)")
    figure.supylabel("right (%)")
    handles = [
        Line2D([], [], color=style.severity_colour(level), marker="o", ms=3, label=f"severity {level}")
        for level in (1, 5)
    ]
    labels.footer(
        figure,
        [f"bins of {LEAST} images or more, larger dots of more; bars: 95 %"],
        handles=handles if len(parts) > 1 else [],
    )
    row = rows.row(0, named=True)
    n = rows.filter(pl.col("shift") == rows["shift"][0])["n"].sum()
    labels.headline(
        figure, f"{style.short(row['model'])} on {row['data']}, n = {n:,}: is it as often right as it is sure?"
    )
    return figure


def _panel(axes: Axes, rows: pl.DataFrame) -> None:
    axes.plot([0, 100], [0, 100], color="0.7", lw=0.8, zorder=0)
    rows = rows.filter(pl.col("n") >= LEAST)
    for (severity,), part in rows.sort("severity", "bin").group_by("severity", maintain_order=True):
        n, right = part["n"].to_numpy(), part["n_correct"].to_numpy()
        x, y = 100 * part["confidence_sum"].to_numpy() / n, 100 * right / n
        colour = style.severity_colour(int(str(severity)) or 5)
        lo, hi = wilson(right, n)
        if len(rows["severity"].unique()) == 1:
            axes.errorbar(x, y, np.maximum([y - 100 * lo, 100 * hi - y], 0), fmt="none", ecolor=colour, elinewidth=0.7)
        axes.plot(x, y, "-", color=colour, lw=0.9)
        axes.scatter(x, y, s=3 + 22 * n / n.sum(), color=colour, lw=0, zorder=2)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)


def _errors(rows: pl.DataFrame) -> str:
    """The calibration error, or its least and largest over severities."""
    found = []
    for _, part in rows.group_by("severity", maintain_order=True):
        gap = np.abs(part["confidence_sum"].to_numpy() - part["n_correct"].to_numpy()).sum()
        found.append(100 * float(gap) / int(part["n"].to_numpy().sum()))
    return f"{found[0]:.1f} %" if len(found) == 1 else f"{min(found):.1f} to {max(found):.1f} %"
