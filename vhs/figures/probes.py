"""What can be decoded from each head, and which of two attributes heads hold."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style
from vhs.grid import head_name

BASELINES = {"control": ("_", "random directions"), "untrained": ("^", "untrained"), "shuffled": ("x", "shuffled")}
WORDS = {"output": "decoded from the output", "direct": "given to the logits"}
KINDS = dict(zip(("robust", "spurious", "both", "neither"), (*style.COLOURS[:3], "0.7"), strict=True))


def accuracies(table: pl.DataFrame, source: str = "output") -> Figure:
    """A panel an attribute, a dot a head, with its interval and baselines; filled where it is beyond all of them."""
    rows = _one(table).filter(pl.col("source") == source)
    if not len(rows):
        raise InputError(f"the table has no source {source}; it has {', '.join(table['source'].unique().sort())}.")
    attributes = paper.keep(rows["attribute"].unique(maintain_order=True).to_list(), str)
    heads = rows.select("layer", "head").unique().sort("layer", "head").rows()
    figure = style.new(max(3.4, 0.17 * len(heads) + 1.2), 1.7 * len(attributes) + 0.8)
    panels = figure.subplots(len(attributes), 1, squeeze=False, sharex=True)[:, 0]
    for axes, attribute in zip(panels, attributes, strict=True):
        _panel(axes, rows.filter(pl.col("attribute") == attribute).sort("layer", "head"), source)
    labels.head_ticks(panels[-1], [head_name(*head) for head in heads])
    panels[-1].set_xlabel("head")
    handles, _ = panels[0].get_legend_handles_labels()
    told = f"filled: beyond all baselines, q < {effects.ALPHA:g}; bars: 95 %"
    labels.footer(figure, [told], handles=handles)
    first = rows.row(0, named=True)
    labels.headline(figure, f"{style.short(first['model'])} on {first['data']}, n = {first['n']:,}: {WORDS[source]}")
    return figure


def _panel(axes: Axes, rows: pl.DataFrame, source: str) -> None:
    x = np.arange(len(rows))
    value, low, high = (rows[name].to_numpy() * 100 for name in ("accuracy", "accuracy_lo", "accuracy_hi"))
    axes.errorbar(x, value, [value - low, high - value], fmt="none", ecolor=style.COLOURS[0], elinewidth=0.8)
    filled = rows["q"].to_numpy() < effects.ALPHA
    for chosen, face in ((filled, style.COLOURS[0]), (~filled, "white")):
        axes.plot(
            x[chosen],
            value[chosen],
            "o",
            ms=4.5,
            mec=style.COLOURS[0],
            mfc=face,
            label="head" if face != "white" else None,
        )
    for name, (mark, words) in BASELINES.items():
        if source == "output" or name == "untrained":
            axes.plot(x, rows[name].to_numpy() * 100, mark, ms=5, color="0.35", label=words)
    chance = 100 / rows["values"][0]
    axes.axhline(chance, color="0.6", lw=0.8, ls=":", label="chance")
    for edge in np.flatnonzero(np.diff(rows["layer"].to_numpy())):
        axes.axvline(edge + 0.5, color="0.9", lw=0.8)
    axes.set_ylabel(f"{rows['attribute'][0]}\n(balanced %)".replace("_", " "))


def exclusivity(table: pl.DataFrame, source: str = "direct") -> Figure:
    """A dot a head: what it holds of the robust attribute against what it holds of the spurious one."""
    rows = effects.first_condition(table).filter(pl.col("source") == source)
    if not len(rows):
        raise InputError(f"the table has no source {source}; it has {', '.join(table['source'].unique().sort())}.")
    models = rows["model_id"].n_unique()
    beside = bool(rows["effect"].is_not_null().any())
    figure, (axes, *right) = style.panels(1 + beside, 2, (3.2, 3.0), (0.2, 0.8), shared=False)
    for kind, colour in KINDS.items():
        part = rows.filter(pl.col("kind") == kind)
        label = f"{kind}{' only' if kind in ('robust', 'spurious') else ''} ({len(part)})"
        axes.plot(part["robust_excess"] * 100, part["spurious_excess"] * 100, "o", ms=5, color=colour, label=label)
    axes.axhline(0, color="0.7", lw=0.8)
    axes.axvline(0, color="0.7", lw=0.8)
    if models == 1:
        _names(axes, rows)
    names = rows["robust"][0], rows["spurious"][0]
    axes.set_xlabel(f"{names[0]}: beyond baselines (points)")
    axes.set_ylabel(f"{names[1]}: beyond baselines (points)")
    name = style.short(rows["model"][0]) if models == 1 else f"{models} models"
    labels.headline(figure, f"{name}, {rows['shift'][0]}: {WORDS[source]}")
    for place in right:
        _effects(place, rows)
    handles, _ = axes.get_legend_handles_labels()
    labels.footer(
        figure,
        ["effects: hollow on clean images, filled under the shift; lines are means"] if right else [],
        handles=handles,
    )
    return figure


def _effects(axes: Axes, rows: pl.DataFrame) -> None:
    """By kind what removing each head costs on clean images and under the condition, and the means."""
    for place, (kind, colour) in enumerate(KINDS.items()):
        part = rows.filter((pl.col("kind") == kind) & pl.col("effect").is_not_null())
        for offset, column, face in ((-0.17, "effect_clean", "white"), (0.17, "effect", colour)):
            value = part[column].drop_nulls().to_numpy() * 100
            spread = np.linspace(-0.09, 0.09, len(value)) if len(value) > 1 else np.zeros(len(value))
            axes.plot(place + offset + spread, value, "o", ms=3.5, mec=colour, mfc=face, mew=0.8)
            if len(value):
                axes.plot([place + offset - 0.13, place + offset + 0.13], [value.mean()] * 2, color="black", lw=1.5)
    axes.axhline(0, color="0.7", lw=0.8)
    axes.set_xticks(range(len(KINDS)), list(KINDS))
    axes.set_ylabel("accuracy lost without the head (points)")
    axes.tick_params(axis="x", labelrotation=30)


def _names(axes: Axes, rows: pl.DataFrame) -> None:
    """Of heads whose dots are not too near each other, the farthest from the middle first."""
    x, y = rows["robust_excess"].to_numpy() * 100, rows["spurious_excess"].to_numpy() * 100
    for index in style.apart(x, y, np.argsort(-np.hypot(x - x.mean(), y - y.mean()))):
        name = head_name(rows["layer"][index], rows["head"][index])
        axes.annotate(name, (x[index], y[index]), (3, 3), textcoords="offset points", fontsize=paper.tiny())


def _one(table: pl.DataFrame) -> pl.DataFrame:
    """The rows of the only model on clean images, or under the only condition."""
    if table["model_id"].n_unique() > 1:
        raise InputError("the table holds several models; this figure draws one. Name one with --model.")
    return effects.first_condition(table)
