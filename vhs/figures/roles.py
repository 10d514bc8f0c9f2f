"""What each head of a model is."""

from __future__ import annotations

import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from vhs.errors import InputError
from vhs.figures import labels, paper, style

ROLES = (
    "unused",
    "static",
    "region detector",
    "positional",
    "follower",
    "sink",
    "class-token reader",
    "local",
    "carrier",
)
HUES = ("0.85", "#E69F00", "#0072B2", "#009E73", "#56B4E9", "#F0E442", "#CC79A7", "#8C6D46", "#D55E00")
COLOURS = dict(zip(ROLES, HUES, strict=True))


def grid(table: pl.DataFrame, _metric: str = "role") -> Figure:
    """A cell a head, in stripes of the colours of its roles, with what they are of; white has none."""
    if table["model_id"].n_unique() > 1:
        raise InputError("the table holds several models; this figure draws one. Name one with --model.")
    depth, width = (int(table[name].to_numpy().max()) + 1 for name in ("layer", "head"))
    figure = style.new(max(3.8, 0.85 * width + 0.9), max(2.0, 0.5 * depth + 1.3))
    axes = figure.subplots()
    for (layer, head), own in table.group_by("layer", "head", maintain_order=True):
        roles = own.filter(pl.col("role") != "none").unique(["role", "of"], maintain_order=True).head(4)
        edge = Rectangle((head - 0.46, layer - 0.42), 0.92, 0.84, fill=False, ec="0.6", lw=0.7)
        axes.add_patch(edge)
        for index, (role, of) in enumerate(roles.select("role", "of").iter_rows()):
            share = 0.84 / len(roles)
            low = layer - 0.42 + index * share
            axes.add_patch(Rectangle((head - 0.46, low), 0.92, share, fc=COLOURS[role], ec="none"))
            if of:
                axes.text(head, low + share / 2, of.replace("_", " "), ha="center", va="center", fontsize=paper.tiny())
    axes.set_xlim(-0.6, width - 0.4)
    axes.set_ylim(depth - 0.4, -0.6)
    style.whole_ticks(axes, x=width, y=depth)
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    style.bare(axes)
    present = [role for role in ROLES if role in table["role"]]
    handles = [Patch(facecolor=COLOURS[role], edgecolor="0.5", label=role) for role in present]
    handles.append(Patch(facecolor="white", edgecolor="0.5", label="none"))
    labels.footer(figure, [], handles=handles)
    labels.headline(figure, f"{style.short(table['model'][0])} on {table['data'][0]}: what each head is")
    return figure
