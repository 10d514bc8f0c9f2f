"""What heads look at: measures by layer, and the divergence matrix."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import labels, paper, style
from vhs.figures.effects import CONDITION, shifted_title

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
    named = [dict(zip(kinds.columns, key, strict=True)) for key in kinds.iter_rows()]
    named = paper.keep(named, _panel_title)
    figure, panels = style.panels(len(named), 3, (2.6, 2.0), (0.2, 0.8), shared=False, least=0.58)
    for axes, key in zip(panels, named, strict=True):
        _dots(axes, table.filter(pl.all_horizontal(pl.col(n).eq_missing(pl.lit(v)) for n, v in key.items())))
        labels.title(axes, _panel_title(key))
        axes.set_ylabel(
            f"{QUERIES.get(str(key['query']), str(key['query']))}{_unit(key['in_unit'])}".strip() or "value"
        )
    labels.label_below(panels, "layer; heads of a layer side by side, in order")
    shifts = table.filter(pl.col("shift") != "clean").select(CONDITION).unique().height
    names = ["clean", *(["under shift" if shifts == 1 else f"mean of {shifts} shifts"] if shifts else [])]
    told = "bars: 95 % intervals of single conditions; lines join a head's two values"
    labels.footer(figure, [told], handles=labels.dots(dict(zip(names, style.COLOURS, strict=False))))
    labels.headline(figure, _whose(table))
    return figure


def _panel_title(named: dict[str, str | None]) -> str:
    name = TITLES.get(str(named["metric"]), str(named["metric"]).replace("_", " "))
    of = f", {named['of']}" if named["of"] else ""
    return f"{name}{of}{', value-weighted' if named['weighting'] == 'value' else ''}"


def _unit(unit: str | None) -> str:
    return "" if unit == "1" else f" ({unit})"


def divergence(table: pl.DataFrame, metric: str = "jsd") -> Figure:
    """The matrix of divergences, alignments or whatever pairs of heads have, layers ruled off: clean, the mean over
    shifts, and the second less the first. What is of one layer only leaves the rest blank."""
    table = one_model(table.filter(pl.col("metric") == metric))
    heads = _head_positions(table)
    parts = _parts(table, heads)
    if metric in ("cka", "gradients"):
        for part in parts:
            np.fill_diagonal(part.values, np.nan)  # a head is like itself, which would take the scale
    norm = Normalize(0, max(float(np.nanmax(part.values)) for part in parts) or 1)
    if len(parts) == 2:
        parts.append(Matrix("shift less clean", parts[1].values - parts[0].values))
    kept = paper.keep(parts, lambda part: part.name)
    figure, panels = style.panels(len(kept), 3, (2.9, 3.3), (0.2, 0.3), shared=False, least=0.7)
    for axes, part in zip(panels, kept, strict=True):
        signed = part.name == "shift less clean"
        image = style.heat_map(axes, part.values, norm=style.symmetric_norm([part.values]) if signed else norm)
        axes.set_aspect("equal")
        _rule_layers(axes, list(heads))
        labels.title(axes, part.name)
        axes.set_ylabel("layer")
        label = (
            "difference; red: less alike" if signed and metric == "jsd" else "difference" if signed else LABELS[metric]
        )
        style.colour_bar(image, [axes], label=labels.wrapped(label, 2.2), share=0.06, below=True)
    labels.label_below(panels, "layer; heads of a layer in order")
    labels.headline(figure, _whose(table))
    return figure


def _whose(table: pl.DataFrame) -> str:
    n = int(table["n"].to_numpy().max())
    return f"{style.short(table['model'][0])} on {table['data'][0]}, n = {n:,}"


class Matrix(NamedTuple):
    """A panel: values [heads, heads]."""

    name: str
    values: np.ndarray


def _parts(table: pl.DataFrame, heads: dict[tuple[int, int], int]) -> list[Matrix]:
    clean, shift = table.filter(pl.col("shift") == "clean"), table.filter(pl.col("shift") != "clean")
    parts = [Matrix("clean", _matrix(clean, heads))] if len(clean) else []
    return [*parts, Matrix(shifted_title(shift), _matrix(shift, heads))] if len(shift) else parts


def _dots(axes: Axes, rows: pl.DataFrame) -> None:
    """Heads in their order within each layer; of each its clean value and that under shift, joined."""
    width = int(rows["head"].max()) + 1  # type: ignore[arg-type]
    step = 0.8 / max(width, 1)
    groups = [rows.filter(pl.col("shift") == "clean"), rows.filter(pl.col("shift") != "clean")]
    shown = [(style.COLOURS[index], _means(group)) for index, group in enumerate(groups) if len(group)]
    every = pl.concat([mean for _, mean in shown])
    for index, (colour, mean) in enumerate(shown):
        x = (mean["layer"] + (mean["head"] - (width - 1) / 2) * step).to_numpy()
        value, lo, hi = (mean[name].cast(pl.Float64).to_numpy() for name in ("value", "lo", "hi"))
        spread = np.nan_to_num(np.maximum([value - lo, hi - value], 0))
        axes.errorbar(x, value, spread, fmt="o", color=colour, ms=3, mew=0, elinewidth=0.7, alpha=0.9, zorder=2 + index)
    if len(shown) == 2:
        joined = shown[0][1].join(shown[1][1], on=["layer", "head"], suffix="_shift")
        x = (joined["layer"] + (joined["head"] - (width - 1) / 2) * step).to_numpy()
        axes.vlines(x, joined["value"], joined["value_shift"], color="0.75", lw=0.9, zorder=1)
    layers = int(rows["layer"].max()) + 1  # type: ignore[arg-type]
    style.whole_ticks(axes, x=layers)
    for edge in range(1, layers):
        axes.axvline(edge - 0.5, color="0.93", lw=0.7, zorder=0)
    low, top = min(0.0, float(every["value"].min())), float(every["value"].max())  # type: ignore[arg-type]
    axes.set_ylim(low - 0.06 * (top - low) if low < 0 else 0, top + 0.08 * (top - low) or 1)


def _means(rows: pl.DataFrame) -> pl.DataFrame:
    """By head the mean over conditions; bounds of single ones only."""
    single = rows.select(CONDITION).unique().height == 1
    bounds = [(pl.col(name).mean() if single else pl.lit(None, pl.Float64)).alias(name) for name in ("lo", "hi")]
    return rows.group_by("layer", "head").agg(pl.col("value").mean(), *bounds).sort("layer", "head")


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
