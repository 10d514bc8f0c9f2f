"""What heads look at: measures by layer, and the divergence matrix."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import style
from vhs.figures.effects import shifted_title

QUERIES = {
    "patches": "patch queries", "all": "all tokens", "class": "class token", "windows": "in windows",
    "pooling": "pooling query", "none": "",
}  # fmt: skip
TITLES = {
    "distance": "attention distance", "distance_patch": "attention distance, patches only",
    "distance_ratio": "distance / that of even attention", "entropy": "entropy",
    "entropy_normalised": "entropy / ln(keys)",
    "entropy_patch": "entropy among patches", "entropy_patch_normalised": "entropy among patches / ln(patches)",
    "confidence": "largest weight of a row", "position_deviation": "deviation over queries",
    "nmi": "NMI of query and key",
    "class_mass": "mass on the class token", "register_mass": "mass on registers", "self_mass": "mass on oneself",
    "sink_mass": "mass on sinks", "output_norm": "norm of what is written", "output_rank": "effective rank of outputs",
    "direct": "written for the true class", "offset": "offset", "positional": "share at one displacement",
    "jsd_layer": "JSD to the layer's other heads", "rank_vo": "effective rank of W_V W_O",
    "rank_qk": "effective rank of W_Q W_K", "stability_jsd": "JSD of maps, clean to shifted",
    "stability_cosine": "cosine of outputs, clean to shifted",
}  # fmt: skip
LABELS = {
    "jsd": f"JSD of attention maps (nats, at most {math.log(2):.2f})",
    "cka": "CKA of what heads write (at most 1)",
    "disagreement": "images named differently (share)",
    "gradients": "overlap of input gradients (1 by chance)",
}
USUAL = (
    "distance_ratio", "entropy_normalised", "nmi", "positional", "offset", "class_mass", "output_norm", "output_rank",
    "direct",
)  # fmt: skip
"""What is drawn when no metric is named: a screenful that tells heads apart."""


def by_layer(table: pl.DataFrame, metric: str = "all") -> Figure:
    """One panel a measure: every head a dot at its layer, clean, and under shift where the table has it."""
    table = one_model(table)
    kinds = table.select("metric", "query", "of", "weighting", "in_unit").unique(maintain_order=True)
    if metric != "all":
        kinds = kinds.filter(pl.col("metric") == metric)
    else:
        usual = kinds.filter(pl.col("metric").is_in(USUAL) & (pl.col("weighting") == "attention"))
        kinds = usual.sort(pl.col("metric").replace_strict(USUAL, range(len(USUAL)))) if len(usual) else kinds
    if not len(kinds):
        raise InputError(f"the table has no metric {metric}; it has {', '.join(table['metric'].unique().sort())}.")
    columns = min(3, len(kinds))
    rows = -(-len(kinds) // columns)
    figure = style.new(3.3 * columns, 2.7 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, key in zip(grid.ravel(), kinds.iter_rows(), strict=False):
        named = dict(zip(kinds.columns, key, strict=True))
        _dots(place, table.filter(pl.all_horizontal(pl.col(n).eq_missing(pl.lit(v)) for n, v in named.items())))
        place.set_title(_panel_title(named), loc="left")
        place.set_ylabel(QUERIES.get(named["query"], named["query"]) + _unit(named["in_unit"]))
        place.set_xlabel("layer")
    for place in grid.ravel()[len(kinds) :]:
        place.set_visible(False)
    figure.suptitle(f"{style.short(table['model'][0])} on {table['data'][0]}, n = {table['n'][0]:,}", fontsize=10)
    if table["shift"].n_unique() > 1:
        handles = [grid[0][0].plot([], [], "o", color=colour, markersize=4)[0] for colour in style.COLOURS[:2]]
        figure.legend(handles, ["clean", "mean over shifts"], loc="outside lower center", ncols=2)
    return figure


def _panel_title(named: dict[str, str | None]) -> str:
    name = TITLES.get(str(named["metric"]), str(named["metric"]).replace("_", " "))
    of = f", {named['of']}" if named["of"] else ""
    return f"{name}{of}{', value-weighted' if named['weighting'] == 'value' else ''}"


def _unit(unit: str | None) -> str:
    return "" if unit == "1" else f" ({unit})"


def divergence(table: pl.DataFrame, metric: str = "jsd") -> Figure:
    """The matrix of divergences, alignments or whatever pairs of heads have, layers ruled off; clean, and the mean over
    shifts. What is of one layer only leaves the rest blank."""
    table = one_model(table.filter(pl.col("metric") == metric))
    clean, shift = table.filter(pl.col("shift") == "clean"), table.filter(pl.col("shift") != "clean")
    parts = [("clean", clean)] * bool(len(clean))
    if len(shift):
        parts.append((shifted_title(shift), shift))
    heads = _head_positions(table)
    matrices = [_matrix(part, heads) for _, part in parts]
    figure = style.new(4.0 * len(parts) + 1.0, 4.4)
    grid = figure.subplots(1, len(parts), squeeze=False)[0]
    if metric in ("cka", "gradients"):
        for matrix in matrices:
            np.fill_diagonal(matrix, np.nan)  # a head is like itself, which would take the scale
    norm = Normalize(0, max(float(np.nanmax(matrix)) for matrix in matrices) or 1)
    for place, (name, part), matrix in zip(grid, parts, matrices, strict=True):
        image = style.heat_map(place, matrix, norm=norm)
        place.set_aspect("equal")
        _rule_layers(place, list(heads))
        place.set_title(f"{name}, n = {part['n'][0]:,}", loc="left")
        place.set_xlabel("layer (heads in order inside it)")
    grid[0].set_ylabel("layer")
    style.colour_bar(image, list(grid), label=LABELS[metric])
    figure.suptitle(f"{style.short(table['model'][0])} on {table['data'][0]}", fontsize=10)
    return figure


def _dots(axes: Axes, rows: pl.DataFrame) -> None:
    layers = int(rows["layer"].max()) + 1  # type: ignore[arg-type]
    groups = [rows.filter(pl.col("shift") == "clean"), rows.filter(pl.col("shift") != "clean")]
    shown = [(index, group) for index, group in enumerate(groups) if len(group)]
    low = top = 0.0
    for index, group in shown:
        mean = group.group_by("layer", "head").agg(pl.col("value").mean()).sort("layer", "head")
        offset = (index - 0.5) * 0.24 if len(shown) > 1 else 0
        colour = style.COLOURS[index]
        low, top = min(low, *mean["value"].to_list()), max(top, *mean["value"].to_list())
        axes.plot(mean["layer"] + offset, mean["value"], "o", color=colour, markersize=4, alpha=0.75, mew=0)
        line = mean.group_by("layer").agg(pl.col("value").mean()).sort("layer")
        axes.plot(line["layer"] + offset, line["value"], color=colour, lw=0.9, alpha=0.6)
    style.whole_ticks(axes, x=layers)
    axes.set_ylim(low - 0.06 * (top - low) if low < 0 else 0, top * 1.06 or 1)
    axes.grid(axis="y", color="0.92")


def _head_positions(table: pl.DataFrame) -> dict[tuple[int, int], int]:
    first, second = table.select("layer", "head"), table.select(layer="layer_b", head="head_b")
    heads = pl.concat([first, second]).unique().sort("layer", "head")
    return {key: index for index, key in enumerate(heads.iter_rows())}


def _matrix(part: pl.DataFrame, heads: dict[tuple[int, int], int]) -> np.ndarray:
    mean = part.group_by("layer", "head", "layer_b", "head_b").agg(pl.col("value").mean())
    matrix = np.full((len(heads), len(heads)), np.nan)
    np.fill_diagonal(matrix, 0)
    for layer, head, layer_b, head_b, value in mean.iter_rows():
        a, b = heads[layer, head], heads[layer_b, head_b]
        matrix[a, b] = matrix[b, a] = value
    return matrix


def _rule_layers(axes: Axes, heads: list[tuple[int, int]]) -> None:
    layers = np.array([layer for layer, _ in heads])
    for edge in np.flatnonzero(np.diff(layers)) + 0.5:
        axes.axhline(edge, color="white", lw=0.8)
        axes.axvline(edge, color="white", lw=0.8)
    names = np.unique(layers)
    centres = [float(np.flatnonzero(layers == name).mean()) for name in names]
    axes.set_xticks(centres, [str(name) for name in names])
    axes.set_yticks(centres, [str(name) for name in names])


def one_model(table: pl.DataFrame) -> pl.DataFrame:
    if not len(table):
        raise InputError("the table has no rows for this figure.")
    models = table["model"].unique(maintain_order=True).to_list()
    if len(models) > 1:
        raise InputError(f"the table holds {len(models)} models; this figure draws one. Name one with --model.")
    return table
