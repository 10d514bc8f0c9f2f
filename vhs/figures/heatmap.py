"""Layer x head heat maps of an ablation table, and clean against shift head by head."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vhs.errors import InputError
from vhs.figures import effects, style
from vhs.figures.effects import METRICS, Effects
from vhs.grid import head_name

NAMED = 5
"""How many heads the scatter names: those farthest from zero, as far as the names do not touch."""


def overview(table: pl.DataFrame, metric: str = "drop") -> Figure:
    """For each model: the clean heat map, the mean over shifts, and one against the other."""
    heads = effects.single_fill(table)
    models = heads["model"].unique(maintain_order=True).to_list()
    rows = [_panels(heads.filter(pl.col("model") == model), metric) for model in models]
    columns = max(len(panels) for panels in rows)
    depth, width = rows[0][0].value_LH.shape
    panel = min(max(0.42 * width + 1.3, 2.8), 5.0)
    height = min(max(0.34 * depth + 1.5, 3.2), 7.0)
    has_scatter = columns == 2
    figure = style.new(panel * columns + (height + 0.4 if has_scatter else 0) + 0.9, height * len(rows))
    axes = figure.subplots(
        len(rows), columns + has_scatter, squeeze=False,
        width_ratios=[panel] * columns + [height * 1.05] * has_scatter,
    )  # fmt: skip
    norm = style.symmetric_norm(p.value_LH for panels in rows for p in panels)
    for index, (model, panels) in enumerate(zip(models, rows, strict=True)):
        prefix = f"{style.short(model)}: " if len(models) > 1 else ""
        for place, panel_effects in zip(axes[index], panels, strict=False):
            image = draw(place, panel_effects, norm, prefix)
        if has_scatter and len(panels) == 2:
            scatter(axes[index][-1], panels[0], panels[1], metric)
    label = f"{_label(metric)}\nred: the head helps · blue: removing it helps"
    style.colour_bar(image, list(axes[:, :columns].flat), label=label, share=0.08, aspect=25)
    return figure


def clean_against_shift(table: pl.DataFrame, metric: str = "drop") -> Figure:
    """The scatter alone, one panel a model."""
    heads = effects.single_fill(table)
    models = heads["model"].unique(maintain_order=True).to_list()
    figure = style.new(4.2 * len(models), 4.0)
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        panels = _panels(heads.filter(pl.col("model") == model), metric)
        if len(panels) < 2:
            raise InputError("the table needs clean and a shift for this figure. Run `vhs ablate` with --shift.")
        scatter(axes, panels[0], panels[1], metric)
        if len(models) > 1:
            axes.set_title(style.short(model))
    return figure


def conditions(table: pl.DataFrame, metric: str = "drop") -> Figure:
    """Small multiples: one heat map a condition, corruptions down, severities across."""
    heads = effects.single_fill(table)
    if heads["model"].n_unique() > 1:
        raise InputError("the table holds several models; this figure draws one. Name one with --model.")
    found = effects.by_condition(heads, metric)
    names = list(dict.fromkeys(corruption or shift for (shift, corruption, _), _ in found))
    columns = max(len([key for key, _ in found if (key[1] or key[0]) == name]) for name in names)
    norm = style.symmetric_norm(item.value_LH for _, item in found)
    figure = Figure(figsize=(1.25 * columns + 2.4, 1.15 * len(names) + 1.3))
    grid = figure.subplots(len(names), columns, squeeze=False)
    figure.subplots_adjust(left=1.55 / figure.get_figwidth(), right=1 - 0.95 / figure.get_figwidth(),
                           top=1 - 0.45 / figure.get_figheight(), bottom=0.55 / figure.get_figheight())  # fmt: skip
    for row, name in zip(grid, names, strict=True):
        own = [(key, item) for key, item in found if (key[1] or key[0]) == name]
        for place, (key, item) in zip(row, own, strict=False):
            image = _small(place, item, norm, f"severity {key[2]}" if key[1] else "")
        for place in row[len(own) :]:
            place.set_visible(False)
        row[0].set_ylabel(name.replace("_", "\n"), rotation=0, ha="right", va="center")
    style.colour_bar(image, list(grid.flat), label=_label(metric), share=0.03)
    figure.text(0.5, 0.15 / figure.get_figheight(), "rows: layers, top = 0 · columns: heads · dot: q < 0.05",
                ha="center", fontsize=8)  # fmt: skip
    return figure


def draw(axes: Axes, effect: Effects, norm: Normalize, prefix: str = "") -> AxesImage:
    """One heat map with marked cells and its accuracy in the title."""
    image = style.heat_map(axes, effect.value_LH, norm=norm, marked=effect.marked_LH)
    often = " in half of them" if effect.conditions > 1 else ""
    mark = f"dot: q < {effects.ALPHA:g}{often}{'' if effect.marked_LH.any() else '; none'}"
    axes.set_title(f"{prefix}{effect.title}\n{effect.accuracy:.1%} right, n = {effect.n:,}", loc="left")
    axes.set_xlabel(f"head   ({mark})")
    axes.set_ylabel("layer")
    return image


def scatter(axes: Axes, clean: Effects, shift: Effects, metric: str) -> None:
    """Each head's effect on clean images against its effect under shift, coloured by layer."""
    layers, heads = np.nonzero(~np.isnan(clean.value_LH))
    x, y = clean.value_LH[layers, heads], shift.value_LH[layers, heads]
    low, high = min(x.min(), y.min(), 0), max(x.max(), y.max(), 0)
    margin = 0.06 * (high - low or 1)
    axes.plot([low - margin, high + margin], [low - margin, high + margin], color="0.6", lw=0.8, zorder=0)
    axes.axhline(0, color="0.85", lw=0.8, zorder=0)
    axes.axvline(0, color="0.85", lw=0.8, zorder=0)
    spread = [np.clip(x - clean.low_LH[layers, heads], 0, None), np.clip(clean.high_LH[layers, heads] - x, 0, None)]
    axes.errorbar(x, y, xerr=spread, fmt="none", ecolor="0.75", elinewidth=0.7, zorder=1)
    points = axes.scatter(x, y, c=layers, cmap=style.SEQUENTIAL, s=24, edgecolors="white", linewidths=0.5, zorder=2)
    for index in style.apart(x, y, np.argsort(-np.hypot(x, y))[:NAMED]):
        axes.annotate(
            head_name(layers[index], heads[index]),
            (x[index], y[index]),
            xytext=(5, 4),
            textcoords="offset points",
            fontsize=8,
        )
    unit = METRICS[metric][1]
    axes.set_xlabel(f"clean ({unit}, 95 % interval)")
    axes.set_ylabel(f"under shift ({unit})")
    axes.set_title("each head, clean against shift", loc="left")
    legend = axes.legend(
        *points.legend_elements(num=min(6, len(np.unique(layers))), fmt="{x:.0f}"),
        title="layer",
        loc="upper left",
        bbox_to_anchor=(1, 1),
        borderaxespad=0,
        handletextpad=0.1,
    )
    legend.get_title().set_fontsize(8)


def _label(metric: str) -> str:
    words, unit, _ = METRICS[metric]
    return f"{words} ({unit})"


def _panels(heads: pl.DataFrame, metric: str) -> list[Effects]:
    return [item for item in (effects.clean(heads, metric), effects.over_shifts(heads, metric)) if item is not None]


def _small(axes: Axes, effect: Effects, norm: Normalize, title: str) -> AxesImage:
    image = style.heat_map(axes, effect.value_LH, norm=norm, marked=effect.marked_LH, dot=2.6)
    axes.set_title(title, fontsize=7, pad=2)
    axes.set_xticks([])
    axes.set_yticks([])
    return image
