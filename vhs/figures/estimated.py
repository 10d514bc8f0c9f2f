"""Estimates against exact effects, head by head."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import style
from vhs.formats.tables import condition_name

COLUMNS = 4
METHODS = {"taylor": "first-order estimate", "direct": "direct effect on the logits"}


def scatter(table: pl.DataFrame, metric: str = "dloss") -> Figure:
    """One panel a condition, one point a head, coloured by layer; the diagonal is a perfect estimate."""
    del metric  # there is one
    if table["model"].n_unique() != 1:
        raise InputError("the table holds several models; this figure draws one. Name one with --model.")
    parts = list(table.group_by("shift", "corruption", "severity", maintain_order=True))
    figure, panels = style.panels(len(parts), COLUMNS, (2.5, 2.4), (0.8, 0.7), shared=False)
    for axes, (key, part) in zip(panels, parts, strict=True):
        exact, estimate = part["exact"].to_numpy(), part["estimate"].to_numpy()
        ends = [min(exact.min(), estimate.min()), max(exact.max(), estimate.max())]
        axes.plot(ends, ends, color="0.7", lw=0.8, zorder=0)
        points = axes.scatter(exact, estimate, c=part["layer"], cmap=style.SEQUENTIAL, s=18, edgecolors="white", lw=0.4)
        axes.set_title(f"{condition_name(*key)}\nrank correlation {part['r'][0]:+.2f}", loc="left", fontsize=9)
    figure.supxlabel("loss added without the head, exact (nats)", fontsize=9)
    figure.supylabel(f"{METHODS[table['method'][0]]} (nats)", fontsize=9)
    style.colour_bar(points, figure.axes, label="layer", share=0.04)
    return figure
