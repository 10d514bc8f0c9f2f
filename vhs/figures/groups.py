"""Accuracy of groups of samples, and of shift sets, as points with their intervals."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import labels, paper, style, words

ROW = 0.2
"""Inches a line."""
OF_CLASSES = pl.col("group").str.starts_with("classes=")


def by_group(table: pl.DataFrame, metric: str = "top1") -> Figure:
    """One panel a condition: a line for all samples and for each group, a point a model."""
    if table["group"].n_unique() == 1:
        raise InputError("the table has no groups. Measure with --by ATTRIBUTE or --by label.")
    table = table.filter(~OF_CLASSES).unique(
        ["model", "shift", "corruption", "severity", "group"], keep="first", maintain_order=True
    )
    return _panels(table, metric, ["group"])


def shift_sets(table: pl.DataFrame, metric: str = "top1") -> Figure:
    """One panel, a line for each corruption (a dot a severity, from light to dark), shift set and way of scoring it."""
    whole = table.filter((pl.col("group") == "all") | OF_CLASSES)
    named = whole.with_columns(shift=pl.coalesce("corruption", "shift"))
    return _panels(named, metric, ["shift", "group", "label_set"])


def _panels(table: pl.DataFrame, metric: str, lines: list[str]) -> Figure:
    by_group = "shift" not in lines
    keys = ["shift", "corruption", "severity"]
    parts = list(table.group_by(keys, maintain_order=True)) if by_group else [((), table)]
    named = [(words.condition(*key) if key else "", rows) for key, rows in parts]
    named = paper.keep(named, lambda item: item[0]) if by_group else named
    names = table.select(lines).unique(maintain_order=True).rows()
    models = table["model"].unique(maintain_order=True).to_list()
    cell = 2.1 if len(named) > 1 else 4.4, 0.4 + max(ROW, 0.09 * len(models)) * len(names)
    figure, panels = style.panels(len(named), 4, cell, (1.6, 0.9), least=0.6)
    for axes, (name, rows) in zip(panels, named, strict=True):
        _panel(axes, rows, metric, lines, names, models)
        labels.title(axes, name)
        axes.set_yticks(range(len(names)), [_words(dict(zip(lines, line, strict=True))) for line in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
    unit = "loss (nats)" if metric == "loss" else "top-1 accuracy (%)"
    labels.label_below(panels, f"{unit}, 95 % interval")
    named_by = dict(zip([style.short(model) for model in models], style.colours(len(models)), strict=True))
    handles = labels.dots(named_by) if len(models) > 1 else []
    several = not by_group and table["severity"].max() != 0
    if handles or several:
        labels.footer(figure, ["corruptions: a dot a severity, the lightest is 1"] if several else [], handles=handles)
    who = style.short(models[0]) if len(models) == 1 else f"{len(models)} models"
    labels.headline(figure, f"{who} on {table['data'][0]}")
    return figure


def _panel(
    axes: Axes, table: pl.DataFrame, metric: str, lines: list[str], names: list[tuple[str, ...]], models: list[str]
) -> None:  # fmt: skip
    scale = 1 if metric == "loss" else 100
    step = 0.7 / len(models)
    for number, model in enumerate(models):
        rows = table.filter(pl.col("model") == model)
        shade = 0.55 * (rows["severity"].to_numpy() - 3) / 5 * step
        y = np.array([names.index(key) for key in rows.select(lines).rows()]) + step * (number - (len(models) - 1) / 2)
        y = y + np.where(rows["severity"].to_numpy() > 0, shade, 0)
        x, lo, hi = (rows[column].to_numpy() * scale for column in (metric, f"{metric}_lo", f"{metric}_hi"))
        colour = style.colours(len(models))[number]
        axes.errorbar(x, y, xerr=np.maximum([x - lo, hi - x], 0), fmt="none", ecolor=colour, alpha=0.5, elinewidth=0.9)
        shades = [to_rgba(colour, 0.35 + 0.13 * level if level else 1.0) for level in rows["severity"]]
        axes.scatter(x, y, s=14, color=shades, lw=0, zorder=3)
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)


def _words(line: dict[str, str]) -> str:
    """`imagenet-r, over its classes`; `clean, classes of imagenet-r`."""
    parts = [words.plain(line["shift"])] if "shift" in line else []
    if line["group"].startswith("classes="):
        parts.append(f"classes of {line['group'].partition('=')[2]}")
    elif line["group"] != "all" or not parts:
        parts.append("all samples" if line["group"] == "all" else line["group"].replace("=", " = "))
    if line.get("label_set", "all") != "all":
        parts.append("only these answers")
    return ", ".join(parts)
