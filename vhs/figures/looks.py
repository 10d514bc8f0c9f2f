"""What each head follows, which regions it looks at, and which heads look alike: figures of the heads table."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import labels, paper, style
from vhs.figures.heads import one_model
from vhs.grid import head_name
from vhs.roles.kinds import EXCESS

ROWS = 48
"""Heads down a panel; more go into the next one."""
FEATURES = ("edges", "corners", "texture", "brightness", "colour", "centre")


def features(table: pl.DataFrame, metric: str = "attention") -> Figure:
    """Heads down, features across: how far each head follows each; a dot where both nulls are left behind."""
    rows = _clean(one_model(table), "follows", metric)
    found = (pl.col("lo") > pl.col("null_hi")) | (pl.col("hi") < pl.col("null_lo"))
    order = [name for name in FEATURES if name in rows["of"]]
    figure = _matrix(rows.with_columns(found=found), order, "partial rank correlation beyond other images'")
    labels.footer(figure, [], dots="the interval is beyond both nulls")
    labels.headline(figure, _title(table, "what heads follow", metric))
    return figure


def regions(table: pl.DataFrame, metric: str = "attention") -> Figure:
    """Heads down, regions across: attention beyond what the place gets anyway; a dot where surely above EXCESS."""
    name = "region_excess" if "region_excess" in table["metric"] else "region_enrichment"
    rows = _clean(one_model(table), name, metric)
    bound = EXCESS if name == "region_excess" else 1 + EXCESS
    order = rows["of"].unique(maintain_order=True).to_list()
    words = "enrichment beyond its reference" if name == "region_excess" else "enrichment (1: even attention)"
    figure = _matrix(rows.with_columns(found=pl.col("lo") > bound), order, words, None if bound == EXCESS else 1.0)
    labels.footer(figure, [], dots=f"surely above {EXCESS:g}" + ("" if bound == EXCESS else " beyond even attention"))
    labels.headline(figure, _title(table, "regions that heads look at", metric))
    return figure


def plane(table: pl.DataFrame, metric: str = "attention") -> Figure:
    """Heads as points, as far apart as their maps differ; colours are layers, marks are clusters."""
    rows = one_model(table).filter(pl.col("shift") == "clean")
    wide = rows.filter(pl.col("metric").is_in(["mds_1", "mds_2", "cluster"])).pivot(
        "metric", index=["layer", "head"], values="value", aggregate_function="first"
    )
    if not len(wide):
        raise InputError("the table has no places of heads in a plane; `vhs specialize` gives them for 3 heads.")
    figure = style.new(5.2, 4.2)
    axes = figure.subplots()
    layers = wide["layer"].to_numpy()
    marks = "osD^vP*X<>"
    for cluster, part in wide.group_by("cluster", maintain_order=True):
        number = int(float(str(cluster[0])))
        shown = axes.scatter(
            part["mds_1"], part["mds_2"], c=part["layer"], cmap=style.layer_colours(), vmin=0,
            vmax=max(layers.max(), 1),
            s=34, marker=marks[number % len(marks)], edgecolor="white", linewidth=0.5, label=f"cluster {number}",
        )  # fmt: skip
    x, y = wide["mds_1"].to_numpy(), wide["mds_2"].to_numpy()
    middle = np.hypot(x - x.mean(), y - y.mean())
    for index in style.apart(x, y, np.argsort(-middle)):  # those farthest out first
        name = head_name(wide["layer"][index], wide["head"][index])
        axes.annotate(
            name, (x[index], y[index]), (3, 3), textcoords="offset points", fontsize=paper.tiny(), color="0.3"
        )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("first axis (√nats)")
    axes.set_ylabel("second axis (√nats)")
    legend = axes.legend(fontsize=paper.small(), loc="best")
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_array(None)
            handle.set_facecolor("0.4")
    style.colour_bar(shown, [axes], label="layer")
    labels.headline(figure, _title(table, "heads by how alike they look", metric))
    return figure


def _clean(table: pl.DataFrame, metric: str, weighting: str) -> pl.DataFrame:
    """The clean rows of a metric; those of the first condition where none is clean."""
    rows = table.filter((pl.col("metric") == metric) & (pl.col("weighting") == weighting))
    if not len(rows):
        raise InputError(f"the table has no {weighting} rows of {metric}.")
    clean = rows.filter(pl.col("shift") == "clean")
    return clean if len(clean) else rows.filter(pl.col("shift") == rows["shift"][0])


def _matrix(rows: pl.DataFrame, columns: list[str], label: str, middle: float | None = None) -> Figure:
    heads = rows.select("layer", "head").unique().sort("layer", "head").rows()
    place = {key: index for index, key in enumerate(heads)}
    values = np.full((len(heads), len(columns)), np.nan)
    marked = np.zeros(values.shape, bool)
    for layer, head, of, value, found in rows.select("layer", "head", "of", "value", "found").iter_rows():
        values[place[layer, head], columns.index(of)] = value
        marked[place[layer, head], columns.index(of)] = bool(found)
    parts = [slice(start, start + ROWS) for start in range(0, len(heads), ROWS)]
    tall = min(len(heads), ROWS)
    figure = style.new((0.55 * len(columns) + 0.8) * len(parts) + 1.0, 0.16 * tall + 1.6)
    grid = figure.subplots(1, len(parts), squeeze=False)[0]
    norm = style.symmetric_norm([values - (middle or 0.0)])
    for axes, part in zip(grid, parts, strict=True):
        image = style.heat_map(axes, values[part] - (middle or 0.0), norm=norm, marked=marked[part], dot=3)
        axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(heads[part])), [head_name(*key) for key in heads[part]], fontsize=paper.tiny())
    style.colour_bar(image, list(grid), label=label if middle is None else label.replace("(1:", f"less {middle:g} (0:"))
    return figure


def _title(table: pl.DataFrame, words: str, weighting: str) -> str:
    weighted = ", value-weighted" if weighting == "value" else ""
    n = int(table["n"].max())  # type: ignore[arg-type]
    return f"{words}{weighted}: {style.short(table['model'][0])} on {table['data'][0]}, n = {n:,}"
