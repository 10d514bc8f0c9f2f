"""From estimates and exact tables to the estimated table: how well first-order estimates do."""

from __future__ import annotations

import polars as pl

from vhs.errors import MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame

KEYS = ["model", "model_id", "data", "shift", "category", "corruption", "severity", "fill"]


def beside_exact(estimates: pl.DataFrame, exact: pl.DataFrame) -> pl.DataFrame:
    """The estimated table: heads and conditions that both have. Raises MismatchError where they share none."""
    from scipy.stats import spearmanr

    heads = exact.filter((pl.col("unit") == "head") & (pl.col("group") == "all"))
    joined = estimates.join(
        heads, on=[*KEYS, "layer", "head"], nulls_equal=True, suffix="_exact", maintain_order="left"
    )
    if not len(joined):
        raise MismatchError("--exact: the tables share no head under one condition and fill.")
    parts = []
    for _, part in joined.group_by(KEYS, maintain_order=True):
        r = float(spearmanr(part["dloss"], part["dloss_exact"])[0]) if len(part) > 2 else 0.0
        bounds = {f"estimate_{end}": pl.col(f"dloss_{end}") for end in ("lo", "hi")}
        bounds |= {f"exact_{end}": pl.col(f"dloss_{end}_exact") for end in ("lo", "hi")}
        named = {"estimate": pl.col("dloss"), "exact": pl.col("dloss_exact")}
        parts.append(part.with_columns(r=pl.lit(r), **named, **bounds))
    table = pl.concat(parts)
    return frame(schemas.ESTIMATED, table.select(schemas.ESTIMATED.names).to_dicts())
