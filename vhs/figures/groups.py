"""Accuracy of groups of samples, and of shift sets, as points with their intervals."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import style
from vhs.formats.tables import condition_name

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
    """One panel, a line for each condition and way of scoring it."""
    return _panels(table.filter((pl.col("group") == "all") | OF_CLASSES), metric, ["shift", "group", "label_set"])


def _panels(table: pl.DataFrame, metric: str, lines: list[str]) -> Figure:
    conditions = [name for name in ("shift", "corruption", "severity") if name not in lines]
    parts = list(table.group_by(conditions, maintain_order=True)) if len(conditions) == 3 else [((), table)]
    names = table.select(lines).unique(maintain_order=True).rows()
    cell = 2.1 if len(parts) > 1 else 4.0, 0.5 + ROW * len(names)
    figure, panels = style.panels(len(parts), 4, cell, (2.0, 0.9))
    models = table["model"].unique(maintain_order=True).to_list()
    for place, (key, rows_of) in zip(panels, parts, strict=True):
        _panel(place, rows_of, metric, lines, names, models)
        if key:
            place.set_title(condition_name(*key), loc="left")
    panels[0].set_yticks(range(len(names)), [_words(dict(zip(lines, name, strict=True))) for name in names])
    panels[0].invert_yaxis()
    unit = "loss (nats)" if metric == "loss" else "top-1 accuracy (%)"
    figure.supxlabel(f"{unit}, 95 % interval", fontsize=9)
    if len(models) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    else:
        figure.suptitle(f"{style.short(models[0])} on {table['data'][0]}", fontsize=10)
    return figure


def _panel(axes, table, metric, lines, names, models) -> None:  # type: ignore[no-untyped-def]
    scale = 1 if metric == "loss" else 100
    for number, model in enumerate(models):
        rows = table.filter(pl.col("model") == model)
        y = [names.index(key) + 0.16 * (number - (len(models) - 1) / 2) for key in rows.select(lines).rows()]
        x, lo, hi = (rows[column].to_numpy() * scale for column in (metric, f"{metric}_lo", f"{metric}_hi"))
        colour = style.colours(len(models))[number]
        axes.errorbar(
            x,
            y,
            xerr=np.maximum([x - lo, hi - x], 0),
            fmt="o",
            ms=4,
            color=colour,
            capsize=2,
            lw=1,
            label=style.short(model),
        )
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)


def _words(line: dict[str, str]) -> str:
    """`imagenet-r, over its classes`; `clean, classes of imagenet-r`."""
    parts = [line["shift"]] if "shift" in line else []
    if line["group"].startswith("classes="):
        parts.append(f"classes of {line['group'].partition('=')[2]}")
    elif line["group"] != "all" or not parts:
        parts.append("all samples" if line["group"] == "all" else line["group"].replace("=", " = "))
    if line.get("label_set", "all") != "all":
        parts.append("only these answers")
    return ", ".join(parts)
