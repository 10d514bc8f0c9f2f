"""How much of a shift's damage heads and layers carry: answers that come back when their clean outputs are put in."""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vhs.errors import InputError
from vhs.figures import labels, paper, style, words
from vhs.grid import head_name

COLUMNS = 4
LEAST = 10
"""Answers that a condition must lose: shares of fewer say nothing."""
NAMED = 3
"""Heads of a panel that are named: those that restore most."""


def bars(table: pl.DataFrame, metric: str = "drop") -> Figure:
    """One panel a condition: a dot a head with its interval, and a bar a layer where the table has whole layers.

    Share of the damage (right on clean images less right on shifted ones) that `--fill twin` restores; negative
    where it does more. Intervals are of what comes back; the damage is taken as it was seen.
    """
    del metric  # there is one
    rows = table.filter((pl.col("fill") == "twin") & (pl.col("group") == "all"))
    if rows["model"].n_unique() != 1:
        raise InputError("this figure draws twins of one model: ablate with --fill twin, or name one with --model.")
    clean = rows.filter(pl.col("shift") == "clean")
    shifted = rows.filter(pl.col("corruption").is_not_null() & pl.col("unit").is_in(["head", "layer"]))
    if not len(clean) or not len(shifted):
        raise InputError("this figure needs clean and shifted rows of --fill twin.")
    parts = [
        (words.condition("", str(corruption), int(str(severity))), part)
        for (corruption, severity), part in shifted.group_by("corruption", "severity", maintain_order=True)
    ]
    right = int(clean["n_correct_intact"][0])
    enough = [item for item in parts if right - int(item[1]["n_correct_intact"][0]) >= LEAST]
    if not enough:
        raise InputError(
            f"no condition loses {LEAST} answers, so there is no damage to restore. Take a stronger shift."
        )
    left_out = [name for name, part in parts if not any(part is own for _, own in enough)]
    parts = paper.keep(enough, lambda item: item[0])
    figure, panels = style.panels(len(parts), COLUMNS, (2.1, 2.1), (0.5, 0.9), least=0.7)
    for axes, (name, part) in zip(panels, parts, strict=True):
        damage = right - int(part["n_correct_intact"][0])
        _panel(axes, part, damage)
        labels.title(axes, f"{name}\n{damage} answers lost")
    labels.label_below(panels, "layer")
    figure.supylabel("damage restored (%)")
    handles, _ = panels[0].get_legend_handles_labels()
    told = [f"not drawn: {', '.join(left_out)}, which lose fewer than {LEAST} answers"] if left_out else []
    labels.footer(figure, told, handles=handles)
    row = rows.row(0, named=True)
    labels.headline(
        figure, f"{style.short(row['model'])} on {row['data']}, n = {row['n']:,}: clean outputs put into shifted images"
    )
    return figure


def _panel(axes: Axes, part: pl.DataFrame, damage: int) -> None:
    share = 100 / max(damage, 1)
    gained, low, high = (
        -part[name].to_numpy() * part["n"].to_numpy() * share for name in ("drop", "drop_hi", "drop_lo")
    )
    layer, whole = part["layer"].to_numpy(), (part["unit"] == "layer").to_numpy()
    spread = np.maximum([gained - low, high - gained], 0)
    if whole.any():
        axes.bar(layer[whole], gained[whole], 0.8, color="0.87", label="all heads of the layer together, 95 %")
        axes.errorbar(layer[whole], gained[whole], spread[:, whole], fmt="none", ecolor="0.6", elinewidth=0.9)
    single = np.flatnonzero(~whole)
    if len(single):
        heads = part["head"].to_numpy()[single]
        x = layer[single] + (heads - heads.mean()) / max(np.ptp(heads), 1) * 0.5
        colour = style.COLOURS[0]
        axes.errorbar(
            x, gained[single], spread[:, single], fmt="o", ms=3, color=colour, elinewidth=0.7, label="one head, 95 %"
        )
        for index in style.apart(x, gained[single], np.argsort(-gained[single])[:NAMED]):
            name = head_name(int(layer[single[index]]), int(heads[index]))
            axes.annotate(
                name, (x[index], gained[single[index]]), (3, 2), textcoords="offset points", fontsize=paper.tiny()
            )
    axes.axhline(0, color="0.4", lw=0.8)
    axes.set_xticks(np.unique(layer))
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)
