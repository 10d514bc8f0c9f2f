"""Estimates against exact effects, head by head."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.figures import effects, labels, paper, style, words
from vhs.grid import head_name

METHODS = {"taylor": "first-order estimate", "direct": "direct effect on the logits"}
NAMED = 4
"""Heads of a panel that are named: those farthest from the diagonal."""


def scatter(table: pl.DataFrame, metric: str = "dloss") -> Figure:
    """One panel a condition, one point a head, coloured by layer; the diagonal is a perfect estimate."""
    del metric  # there is one
    effects.check_one(table, "model", "fill")
    parts = [
        (words.condition(*key), part)
        for key, part in table.group_by("shift", "corruption", "severity", maintain_order=True)
    ]
    parts = paper.keep(parts, lambda item: item[0])
    figure, panels = style.panels(len(parts), 4, (2.2, 2.2), (0.7, 0.5), shared=False, least=0.5)
    for axes, (name, part) in zip(panels, parts, strict=True):
        exact, estimate = part["exact"].to_numpy(), part["estimate"].to_numpy()
        ends = [min(exact.min(), estimate.min()), max(exact.max(), estimate.max())]
        axes.plot(ends, ends, color="0.7", lw=0.8, zorder=0)
        points = axes.scatter(
            exact, estimate, c=part["layer"], cmap=style.layer_colours(), s=16, edgecolors="white", lw=0.4
        )
        far = np.argsort(-np.maximum(np.abs(exact - estimate), 0.3 * np.abs(exact)))[:NAMED]
        for index in style.apart(exact, estimate, far):
            place = head_name(part["layer"][int(index)], part["head"][int(index)])
            axes.annotate(
                place, (exact[index], estimate[index]), (3, 3), textcoords="offset points", fontsize=paper.tiny()
            )
        labels.title(axes, f"{name}\nrank correlation {part['r'][0]:+.2f}")
        _interval(axes, part, exact, estimate)
    labels.label_below(panels, "loss added, exact (nats)")
    figure.supylabel(f"{METHODS[table['method'][0]]} (nats)")
    style.colour_bar(points, panels, label="layer", share=0.04)
    row = table.row(0, named=True)
    labels.headline(
        figure,
        f"{style.short(row['model'])} on {row['data']}, fill {row['fill']}: estimated and exact effects of heads",
    )
    return figure


def _interval(axes: Axes, part: pl.DataFrame, exact: np.ndarray, estimate: np.ndarray) -> None:
    """Bars of 95 % intervals, where the table has them."""
    bounds = []
    for side, values in (("exact", exact), ("estimate", estimate)):
        lo, hi = (part[f"{side}_{end}"].cast(pl.Float64).to_numpy() for end in ("lo", "hi"))
        bounds.append(np.nan_to_num(np.maximum([values - lo, hi - values], 0)))
    axes.errorbar(exact, estimate, bounds[1], bounds[0], fmt="none", ecolor="0.75", elinewidth=0.7, zorder=0)
