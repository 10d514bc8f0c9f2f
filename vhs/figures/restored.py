"""How much of a shift's damage heads and layers carry: answers that come back when their clean outputs are put in."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import style

COLUMNS = 5


def bars(table: pl.DataFrame, metric: str = "drop") -> Figure:
    """One panel a condition: a dot a head, and a bar a layer where the table has whole layers.

    Share of the damage (right on clean images less right on shifted ones) that `--fill twin` restores; negative
    where it does more.
    """
    del metric  # there is one
    rows = table.filter((pl.col("fill") == "twin") & (pl.col("group") == "all"))
    if rows["model"].n_unique() != 1:
        raise InputError("this figure draws twins of one model: ablate with --fill twin, or name one with --model.")
    clean = rows.filter(pl.col("shift") == "clean")
    shifted = rows.filter(pl.col("corruption").is_not_null() & pl.col("unit").is_in(["head", "layer"]))
    if not len(clean) or not len(shifted):
        raise InputError("this figure needs clean and shifted rows of --fill twin.")
    parts = list(shifted.group_by("corruption", "severity", maintain_order=True))
    figure, panels = style.panels(len(parts), COLUMNS, (2.1, 2.1), (0.5, 0.9))
    for axes, (key, part) in zip(panels, parts, strict=True):
        damage = int(clean["n_correct_intact"][0]) - int(part["n_correct_intact"][0])
        _panel(axes, part, damage)
        axes.set_title(f"{str(key[0]).replace('_', ' ')}:{key[1]}\n{damage} answers lost", loc="left", fontsize=9)
    figure.supxlabel("layer", fontsize=9)
    figure.supylabel("damage restored (%)", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def _panel(axes: Axes, part: pl.DataFrame, damage: int) -> None:
    gained = (part["n_correct"] - part["n_correct_intact"]).to_numpy() / max(damage, 1) * 100
    layer, whole = part["layer"].to_numpy(), (part["unit"] == "layer").to_numpy()
    if whole.any():
        axes.bar(layer[whole], gained[whole], 0.8, color="0.85", label="all heads of the layer together")
    single = ~whole
    if single.any():
        heads = part["head"].to_numpy()[single]
        spread = (heads - heads.mean()) / max(np.ptp(heads), 1) * 0.5
        axes.plot(layer[single] + spread, gained[single], "o", ms=3.5, color=style.COLOURS[0], label="one head")
    axes.axhline(0, color="0.4", lw=0.8)
    axes.set_xticks(np.unique(layer))
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
