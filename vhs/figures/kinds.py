"""Four kinds of heads, layer by layer: one region or several, and whether they matter."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from vhs.errors import InputError
from vhs.figures import labels, paper, style

KINDS = ("one", "several", "diffuse", "undecided")
COLOURS = dict(zip(KINDS, (style.COLOURS[0], style.COLOURS[1], "0.75", "0.9"), strict=True))
WORDS = {"one": "one region", "several": "several regions", "diffuse": "diffuse", "undecided": "undecided"}


def by_layer(table: pl.DataFrame, _metric: str = "effect") -> Figure:
    """Above, how many heads of each layer are of which kind, hatched where they matter; below, what removing one costs:
    mean over the layer's heads with their standard deviation."""
    models = table["model_id"].unique(maintain_order=True).to_list()
    conditions = table.select("shift", "corruption", "severity").unique(maintain_order=True)
    first = table.filter(pl.struct("shift", "corruption", "severity").is_in(conditions[:1].to_struct().implode()))
    if not len(first):
        raise InputError("the table has no rows for this figure.")
    layers = int(first["layer"].max()) + 1  # type: ignore[arg-type]
    kept = paper.keep(["kinds of heads", "cost of removing one"], str)
    figure, panels = style.panels(len(kept), 1, (max(4.2, 0.42 * layers + 2.2), 2.0), (0.0, 1.2), shared=False)
    for axes, name in zip(panels, kept, strict=True):
        if name == "kinds of heads":
            _counts(axes, first, layers, len(models))
        else:
            _effects(axes, first, models)
        style.whole_ticks(axes, x=layers)
    labels.label_below(panels, "layer")
    handles = [Patch(facecolor=COLOURS[kind], edgecolor="0.4", label=WORDS[kind]) for kind in KINDS]
    handles.append(Patch(facecolor="white", edgecolor="0.2", hatch="////", label="matters"))
    names = [style.short(table.filter(pl.col("model_id") == model)["model"][0]) for model in models]
    dots = labels.dots(dict(zip(names, style.colours(len(names)), strict=True))) if len(models) > 1 else []
    labels.footer(figure, ["below: mean ± standard deviation over the layer's heads"], handles=[*handles, *dots])
    name = style.short(table["model"][0]) if len(models) == 1 else f"{len(models)} models"
    n, tolerance = first["n"][0], first["tolerance"][0]
    labels.headline(figure, f"{name} on {first['data'][0]}, n = {n:,}; matters: surely more than {tolerance:.1%}")
    return figure


def _counts(axes: Axes, rows: pl.DataFrame, layers: int, models: int) -> None:
    bottom = np.zeros(layers)
    for kind in KINDS:
        for matters, hatch in ((True, "////"), (False, "")):
            part = rows.filter((pl.col("kind") == kind) & ((pl.col("relevant") == "yes") == matters))
            count = np.bincount(part["layer"].to_numpy(), minlength=layers) / models
            axes.bar(range(layers), count, 0.75, bottom, color=COLOURS[kind], edgecolor="0.3", lw=0.5, hatch=hatch)
            bottom += count
    axes.set_ylabel("heads" if models == 1 else "heads, mean over models")


def _effects(axes: Axes, rows: pl.DataFrame, models: list[str]) -> None:
    for index, model in enumerate(models):
        part = rows.filter(pl.col("model_id") == model)
        mean = part.group_by("layer").agg(pl.col("effect").mean(), sd=pl.col("effect").std()).sort("layer")
        offset = (index - (len(models) - 1) / 2) * 0.14
        axes.errorbar(
            mean["layer"] + offset, mean["effect"] * 100, mean["sd"].fill_null(0) * 100, fmt="o", ms=4, lw=1, capsize=2,
            color=style.colours(len(models))[index], label=style.short(part["model"][0]),
        )  # fmt: skip
    axes.axhline(0, color="0.6", lw=0.8)
    of_classes = rows["effect_of"][0] == "accuracy"
    axes.set_ylabel("accuracy lost (points)" if of_classes else "squared error added (%)")
