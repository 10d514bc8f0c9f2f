"""One-region, several-region and diffuse heads, and which of them matter: regions and ablation together. No torch.

The four kinds of heads of Bahador 2025 (arXiv:2503.18762), who told them by eye; here by thresholds and intervals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from vhs.errors import MismatchError, UsageError
from vhs.formats import schemas
from vhs.formats.tables import frame

EXCESS = 0.5
"""Excess enrichment from which on a head looks at a region: half as much again as even attention would give it."""
CONDITION = ["model", "model_id", "data", "shift", "category", "corruption", "severity"]
PLACE = ["layer", "head"]


def kinds(rows: pl.DataFrame, ablation: pl.DataFrame | None, tolerance: float) -> pl.DataFrame:
    """The kinds table: a row a head and condition that both tables have.

    rows: of the heads table, with regions; ablation: of single heads, of classes or of targets. Raises UsageError for a
    heads table without regions, MismatchError for tables of other models or conditions.
    """
    looked = rows.filter((pl.col("metric") == "region_excess") & (pl.col("weighting") == "attention"))
    if not len(looked):
        raise UsageError("--summary kinds: the heads table has no regions. `vhs specialize --regions` measures them.")
    assert ablation is not None
    effects = _effects(ablation)
    found = []
    for key, part in looked.group_by([*CONDITION, *PLACE], maintain_order=True):
        named = dict(zip([*CONDITION, *PLACE], key, strict=True))
        own = effects.filter(
            pl.all_horizontal(
                pl.col(name).eq_missing(pl.lit(value)) for name, value in named.items() if name != "model"
            )
        )
        if len(own):
            found.append(_row(part, own, tolerance))
    if not found:
        raise MismatchError("--summary kinds: the tables share no head of one model under one condition.")
    return frame(schemas.KINDS, found)


def _effects(ablation: pl.DataFrame) -> pl.DataFrame:
    """Single heads of the first fill, with what removing them does in `effect`, `lo`, `hi` and `of`."""
    heads = ablation.filter(
        (pl.col("unit") == "head") & (pl.col("fill") == ablation["fill"][0]) & (pl.col("group") == "all")
    )
    if "dmse_rel" in ablation.columns:
        return heads.with_columns(effect="dmse_rel", lo="dmse_rel_lo", hi="dmse_rel_hi", of="target")
    return heads.with_columns(effect="drop", lo="drop_lo", hi="drop_hi", of=pl.lit("accuracy"))


def _row(regions: pl.DataFrame, effects: pl.DataFrame, tolerance: float) -> dict[str, Any]:
    """regions: a head's rows, one a region; effects: of removing it, one a target."""
    ordered = regions.sort("value", descending=True, maintain_order=True)
    looked_at = [row["of"] for row in ordered.iter_rows(named=True) if row["lo"] is not None and row["lo"] > EXCESS]
    strongest = ordered.row(0, named=True)
    effect = effects.sort("effect", descending=True, maintain_order=True).row(0, named=True)
    keys = {name: strongest[name] for name in (*_measured(), "module", "layer", "head")}
    return keys | {
        "kind": _kind(ordered, looked_at), "regions": "+".join(looked_at) or None,
        "excess": strongest["value"], "excess_lo": strongest["lo"], "excess_hi": strongest["hi"],
        "relevant": _relevant(effects, tolerance), "effect_of": effect["of"], "effect": effect["effect"],
        "effect_lo": effect["lo"], "effect_hi": effect["hi"], "tolerance": tolerance, "n": strongest["n"],
    }  # fmt: skip


def _kind(regions: pl.DataFrame, looked_at: list[str]) -> str:
    if looked_at:
        return "one" if len(looked_at) == 1 else "several"
    decided = all(hi is not None and hi < EXCESS for hi in regions["hi"])
    return "diffuse" if decided else "undecided"


def _relevant(effects: pl.DataFrame, tolerance: float) -> str:
    """yes where removing the head surely costs more for some target, no where surely less for all."""
    if (effects["lo"] > tolerance).any():
        return "yes"
    return "no" if (effects["hi"] < tolerance).all() else "undecided"


def _measured() -> Iterator[str]:
    return (column.name for column in schemas.MEASURED)
