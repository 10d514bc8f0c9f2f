"""Layer x head heat maps of an ablation table, and clean against shift head by head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vhs.errors import InputError
from vhs.figures import effects, labels, paper, style
from vhs.figures.effects import METRICS, Effects
from vhs.grid import head_name

NAMED = 5
"""How many heads the scatter names: those farthest from zero, as far as the names do not touch."""
AGAINST = "clean against shift"
HELPS = "red: the head helps, blue: removing it helps"
Panel = tuple[str, Effects | None]
"""A name, and what its heat map shows; the scatter has none."""


class Model(NamedTuple):
    """One row of the overview. panels: those that are drawn; clean, shift: what the scatter is of."""

    name: str
    panels: list[Panel]
    clean: Effects | None
    shift: Effects | None


def overview(table: pl.DataFrame, metric: str = "drop", folds: pl.DataFrame | None = None) -> Figure:
    """For each model: the clean heat map, the mean over shifts, and one against the other.

    folds: of the same ablation; the mean then has intervals, and dots where it differs from 0.
    """
    rows = _models(table, metric, folds)
    maps = [(name, item) for model in rows for name, item in model.panels if item is not None]
    places, figure = _places(rows)
    norm = style.symmetric_norm([item.value_LH for _, item in maps]) if maps else None
    image, heat = None, []
    for model, of_model in zip(rows, places, strict=True):
        prefix = f"{model.name}: " if len(rows) > 1 else ""
        for axes, (_, item) in zip(of_model, model.panels, strict=True):
            if item is not None and norm is not None:
                image = draw(axes, item, norm, prefix)
                heat.append(axes)
            elif model.clean is not None and model.shift is not None:
                scatter(axes, model.clean, model.shift, metric)
    if image is not None:
        style.colour_bar(image, heat, label=f"{_label(metric)}\n{HELPS}", share=0.06, aspect=30, below=True)
        labels.footer(figure, [], dots=_dots([item for _, item in maps]))
    labels.headline(figure, _title(table, [item for model in rows for item in (model.clean, model.shift) if item]))
    return figure


def clean_against_shift(table: pl.DataFrame, metric: str = "drop", folds: pl.DataFrame | None = None) -> Figure:
    """The scatter alone, one panel a model."""
    models = _models(table, metric, folds)
    if any(model.clean is None or model.shift is None for model in models):
        raise InputError("the table needs clean and a shift for this figure. Run `vhs ablate` with --shift.")
    models = paper.keep(models, lambda model: model.name)
    figure, panels = style.panels(len(models), 3, (3.6, 3.3), (0.4, 0.3), shared=False)
    for axes, model in zip(panels, models, strict=True):
        if model.clean is not None and model.shift is not None:
            scatter(axes, model.clean, model.shift, metric)
        axes.set_title(model.name if len(models) > 1 else "")
    labels.headline(figure, _title(table, [models[0].shift]))
    return figure


def draw(axes: Axes, effect: Effects, norm: Normalize, prefix: str = "") -> AxesImage:
    """One heat map with marked cells and its accuracy in the title."""
    image = style.heat_map(axes, effect.value_LH, norm=norm, marked=effect.marked_LH)
    title = effect.title if effect.conditions == 1 else f"mean of {effect.conditions} conditions"
    axes.set_title(f"{prefix}{title}\n{effect.accuracy:.1%} right")
    axes.set_xlabel("head")
    axes.set_ylabel("layer")
    return image


def scatter(axes: Axes, clean: Effects, shift: Effects, metric: str) -> None:
    """Each head's effect on clean images against its effect under shift, coloured by layer; intervals where known."""
    layers, heads = np.nonzero(~np.isnan(clean.value_LH))
    x, y = clean.value_LH[layers, heads], shift.value_LH[layers, heads]
    low, high = min(x.min(), y.min(), 0), max(x.max(), y.max(), 0)
    margin = 0.06 * (high - low or 1)
    axes.plot([low - margin, high + margin], [low - margin, high + margin], color="0.6", lw=0.8, zorder=0)
    axes.axhline(0, color="0.85", lw=0.8, zorder=0)
    axes.axvline(0, color="0.85", lw=0.8, zorder=0)
    bounds = [_spread(item, values, layers, heads) for item, values in ((clean, x), (shift, y))]
    axes.errorbar(x, y, xerr=bounds[0], yerr=bounds[1], fmt="none", ecolor="0.75", elinewidth=0.7, zorder=1)
    points = axes.scatter(
        x, y, c=layers, cmap=style.layer_colours(), s=20, edgecolors="white", linewidths=0.5, zorder=2
    )
    for index in style.apart(x, y, np.argsort(-np.hypot(x, y))[:NAMED]):
        name = head_name(layers[index], heads[index])
        axes.annotate(name, (x[index], y[index]), (5, 4), textcoords="offset points", fontsize=paper.small())
    unit = METRICS[metric][1]
    axes.set_xlabel(f"clean ({unit}, 95 %)")
    axes.set_ylabel(f"under shift ({unit}{', 95 %' if shift.bounded else ''})")
    axes.set_title("each head, clean against shift")
    style.colour_bar(points, [axes], label="layer", share=0.05, aspect=25)


def _spread(effect: Effects, values: np.ndarray, layers: np.ndarray, heads: np.ndarray) -> np.ndarray | None:
    """Below and above, [2, heads]; None where there is no interval."""
    if not effect.bounded:
        return None
    return np.clip([values - effect.low_LH[layers, heads], effect.high_LH[layers, heads] - values], 0, None)


def _models(table: pl.DataFrame, metric: str, folds: pl.DataFrame | None) -> list[Model]:
    heads = effects.single_fill(table)
    found = []
    for (name,), part in heads.group_by("model", maintain_order=True):
        clean, shift = effects.clean(part, metric), effects.over_shifts(part, metric, folds)
        panels: list[Panel] = [
            (words, item) for words, item in (("clean", clean), ("shift", shift)) if item is not None
        ]
        if clean is not None and shift is not None:
            panels.append((AGAINST, None))
        found.append(Model(style.short(str(name)), paper.keep(panels, lambda panel: panel[0]), clean, shift))
    return found


def _places(rows: list[Model]) -> tuple[list[list[Axes]], Figure]:
    """Axes for the panels of each model: side by side, in a column the scatter below the maps."""
    first = next((item for _, item in rows[0].panels if item is not None), None)
    depth, width = first.value_LH.shape if first is not None else (1, 1)
    cell_w, cell_h = min(max(0.28 * width + 0.7, 1.5), 4.2), min(max(0.26 * depth + 1.0, 2.2), 6.0)
    if first is None:  # the scatter alone
        cell_w, cell_h = 0.1, 3.0
    maps = sum(item is not None for _, item in rows[0].panels)
    against = len(rows[0].panels) - maps
    below = against and maps and paper.narrow()
    widths = [cell_w] * maps + [max(3.0, cell_h)] * (0 if below else against)
    each = [cell_h, 2.9] if below else [max(cell_h, 2.9 if against else 0)]
    figure = style.new(sum(widths) + 0.5, sum(each) * len(rows) + 1.1)
    grid = figure.add_gridspec(len(each) * len(rows), len(widths), width_ratios=widths, height_ratios=each * len(rows))
    places = []
    for index in range(len(rows)):
        line = len(each) * index
        of_model = [figure.add_subplot(grid[line, column]) for column in range(len(widths))]
        places.append([*of_model, figure.add_subplot(grid[line + 1, :])] if below else of_model)
    return places, figure


def _dots(shown: list[Effects]) -> str:
    """What dots mean on these maps; one meaning where they have one."""
    kinds = list(dict.fromkeys(item.dots for item in shown))
    none = "" if any(item.marked_LH.any() for item in shown) else "; none"
    return "; ".join(kinds) + none


def _title(table: pl.DataFrame, shown: list[Effects | None]) -> str:
    """Whose heads, on what; of how many images, where panels do not say."""
    models = table["model"].unique(maintain_order=True).to_list()
    who = style.short(models[0]) if len(models) == 1 else f"{len(models)} models"
    n = "" if not shown or shown[0] is None else f", n = {shown[0].n:,}"
    return f"{who} on {table['data'][0]}{n}"


def _label(metric: str) -> str:
    words, unit, _ = METRICS[metric]
    return f"{words} ({unit})"
