"""Which heads of two models match, and by how much more than chance."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, labels, style
from vhs.grid import head_name


def assigned(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of heads that are matched one to one; tables of older versions hold no others."""
    return table.filter(pl.col("assigned").fill_null("yes") == "yes").drop_nulls("similarity")


def by_head(table: pl.DataFrame, _metric: str = "similarity") -> Figure:
    """A dot a head: similarity with its match, beside the same across images and with a random partner. Filled where it
    is beyond that of other images; ringed where beyond a random partner only."""
    rows = assigned(effects.first_condition(table)).sort("layer", "head")
    if not len(rows):
        raise InputError("the table has no matched heads.")
    if rows.select("model_id", "model_b_id").unique().height > 1:
        raise InputError("the table holds several pairs of models; this figure draws one. Name one with --model.")
    x = np.arange(len(rows))
    figure = style.new(max(4.8, 0.19 * len(rows) + 1.0), 3.4)
    axes = figure.subplots()
    value, lo, hi = (rows[name].to_numpy() for name in ("similarity", "similarity_lo", "similarity_hi"))
    axes.errorbar(x, value, yerr=[value - lo, hi - value], fmt="none", ecolor=style.COLOURS[0], elinewidth=0.8)
    specific, above = ((rows[f"q_{name}"] < effects.ALPHA).to_numpy() for name in ("specific", "above"))
    kinds = (
        (above & specific, style.COLOURS[0], "match, of the same image"),
        (above & ~specific, style.COLOURS[4], "match, of any image"),
        (~above, "white", "no match"),
    )  # fmt: skip
    for chosen, face, label in kinds:
        axes.plot(x[chosen], value[chosen], "o", ms=4.5, mec=style.COLOURS[0], mfc=face, label=label)
    axes.plot(x, rows["across"], "_", ms=6, color=style.COLOURS[1], label="match, of another image")
    axes.plot(x, rows["random"], "x", ms=4, color="0.4", label="random partner")
    pairs = rows.select("layer", "head", "layer_b", "head_b").rows()
    labels.head_ticks(axes, [f"{head_name(*pair[:2])} - {head_name(*pair[2:])}" for pair in pairs])
    axes.set_xlim(-0.8, len(rows) - 0.2)
    axes.set_ylabel("similarity of maps\n(1 - JSD / ln 2)")
    axes.set_xlabel("head and its match")
    handles, _ = axes.get_legend_handles_labels()
    labels.footer(figure, ["bars: 95 % interval"], handles=handles)
    first = rows.row(0, named=True)
    labels.headline(figure, f"{style.short(first['model'])} and {style.short(first['model_b'])}, n = {first['n']:,}")
    return figure
