"""Heads over families of shifts, and how many are dispensable."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vhs.errors import InputError
from vhs.figures import effects, style
from vhs.formats.tables import condition_name
from vhs.shifts.names import CATEGORY, FAMILY, FAMILY_EXTRA, IMAGENET_C

UNITS = {
    "accuracy": ("accuracy lost without the head (points)", 100.0), "loss": ("loss added (nats)", 1.0),
    "lost_rate": ("right answers lost (%)", 100.0), "log_odds": ("log-odds of being right lost (nats)", 1.0),
    "error": ("squared error added (deviations²)", 1.0), "relative_error": ("squared error added (%)", 100.0),
}  # fmt: skip
COLUMNS = 6
SHARES = (("n_redundant", "dispensable alone", 0), ("n_undecided", "undecided", None), ("n_needed", "needed", 1))
"""Column, what it is called, and its colour; None is grey."""


def heat_maps(table: pl.DataFrame, scale: str = "accuracy") -> Figure:
    """Clean, then each roll-up: families and categories, or corruptions where there are no others."""
    rows = table.filter(pl.col("scale") == scale)
    if not len(rows):
        scales = ", ".join(table["scale"].unique(maintain_order=True))
        raise InputError(f"the table has no rows of scale {scale}. Draw one of {scales}.")
    effects.check_one(rows, "model", "fill")
    names = _order(rows["over"].unique(maintain_order=True).to_list())
    words, factor = UNITS[scale]
    first = rows.filter(pl.col("over") == names[0])
    panels = [panel for target in rows["target"].unique(maintain_order=True) for panel in _panels(rows, target, names)]
    norm = style.symmetric_norm(rows.filter(pl.col("over").is_in(names)).select("value", "clean").to_numpy() * factor)
    columns = min(len(panels), COLUMNS)
    lines = -(-len(panels) // columns)
    depth, width = (int(first[column].to_numpy().max()) + 1 for column in ("layer", "head"))
    figure = style.new(max(1.3, 0.3 * width + 0.5) * columns + 1.4, max(2.2, 0.24 * depth + 1.2) * lines + 0.5)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, (name, part, column) in zip(grid.flat, panels, strict=False):
        image = _heat_map(axes, part, column, factor, norm)
        count = "" if column == "clean" else f"\nmean of {part['n_conditions'][0]}"
        axes.set_title(name.replace("_", " ") + count, loc="left", fontsize=9)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("layer")
    told = "head   (dot: the effect differs from that on clean images,"
    figure.supxlabel(f"{told}{chr(10) if columns < 4 else ' '}q < 0.05, clustered by image)", fontsize=9)
    style.colour_bar(image, list(grid.flat), label=words, aspect=25)
    figure.suptitle(f"{style.short(first['model'][0])}, n = {first['n'][0]:,} images a condition", fontsize=10)
    return figure


def _panels(rows: pl.DataFrame, target: str | None, names: list[str]) -> list[tuple[str, pl.DataFrame, str]]:
    """(name, rows, column) of what is drawn of one target: clean, then every roll-up."""
    own = rows.filter(pl.col("target").eq_missing(target))
    told = "" if rows["target"].n_unique() == 1 or target is None else f", {target}"
    parts = [own.filter(pl.col("over") == name) for name in names]
    drawn = [(name + told, part, "value") for name, part in zip(names, parts, strict=True)]
    return [("clean" + told, parts[0], "clean"), *drawn]


def _order(names: list[str]) -> list[str]:
    """Families, then categories; corruptions only where there is neither."""
    wide = [name for name in (*IMAGENET_C, FAMILY, FAMILY_EXTRA) if name in names]
    others = [name for name in names if name not in wide and name not in CATEGORY]
    return [*wide, *others] or names


def _heat_map(axes: Axes, part: pl.DataFrame, column: str, factor: float, norm: Normalize) -> AxesImage:
    marked = effects.grid(part, "q") < effects.ALPHA if column == "value" else None
    return style.heat_map(axes, effects.grid(part, column) * factor, norm=norm, marked=marked)


def redundancy(table: pl.DataFrame, metric: str = "accuracy") -> Figure:
    """Stacked bars, one a condition: heads shown to be dispensable one at a time, needed, and undecided."""
    del metric  # there is one
    models = table["model"].unique(maintain_order=True).to_list()
    most = max(table.filter(pl.col("model") == model).height for model in models)
    figure = style.new(min(max(3.2, 0.12 * most + 1.4), 11), 2.3 * len(models) + 0.9)
    for axes, model in zip(figure.subplots(len(models), 1, squeeze=False)[:, 0], models, strict=True):
        _stack(axes, table.filter(pl.col("model") == model))
        axes.set_title(style.short(model) if len(models) > 1 else "", loc="left")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    tolerance, n = table["tolerance"][0], table["n"][0]
    figure.supxlabel(
        f"condition   (dispensable: drop below {tolerance:.1%} of accuracy by its 95 % interval; n = {n:,})", fontsize=8
    )
    return figure


def _stack(axes: Axes, rows: pl.DataFrame) -> None:
    x, below = np.arange(len(rows)), np.zeros(len(rows))
    for column, words, colour in SHARES:
        heights = rows[column].to_numpy()
        axes.bar(x, heights, 0.9, bottom=below, label=words, color="0.85" if colour is None else style.COLOURS[colour])
        below += heights
    axes.set_ylabel(f"heads of {rows['n_heads'][0]}")
    axes.set_xlim(-0.6, len(rows) - 0.4)
    names = [
        corruption or condition_name(shift, None, 0) for shift, corruption in rows.select("shift", "corruption").rows()
    ]
    starts = [index for index, name in enumerate(names) if index == 0 or name != names[index - 1]]
    ends = [*starts[1:], len(names)]
    axes.set_xticks([(a + b - 1) / 2 for a, b in zip(starts, ends, strict=True)],
                    [names[a].replace("_", " ") for a in starts], rotation=45, ha="right")  # fmt: skip
    for start in starts[1:]:
        axes.axvline(start - 0.5, color="white", lw=1.5)
