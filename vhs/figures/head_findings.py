"""What tables of heads' roles say, in one sentence made from their numbers; as figures/findings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from vhs.figures import effects
from vhs.figures.style import short


def _routing(table: pl.DataFrame) -> str:
    rows = table.filter(pl.col("model_id") == table["model_id"][0])
    heads = rows.unique(["target", "layer", "head"], maintain_order=True)
    counts = {name: heads.filter(pl.col("class") == name).height for name in ("unused", "static", "routing")}
    undecided = heads.filter(pl.col("class") == "undecided")
    conditions = rows.select(effects.CONDITION).unique().height
    text = (
        f"Of {short(table['model'][0])} {counts['unused']} of {len(heads)} heads are unused, {counts['static']} static "
        f"and {counts['routing']} routing, by {rows['tolerance'][0]:.1%} under {conditions} condition"
        f"{'s' * (conditions > 1)} of {rows['n'][0]:,} images"
    )
    if not len(undecided):
        return text + "."
    text += f"; {len(undecided)} are undecided"
    needed = undecided["images_needed"].drop_nulls()
    return (
        f"{text}, half of which would take {np.median(needed.to_numpy()):,.0f} images or fewer."
        if len(needed)
        else text + "."
    )


SENTENCES: dict[str, Callable[[pl.DataFrame], str | None]] = {"routing": _routing}
