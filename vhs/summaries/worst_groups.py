"""From shift tables to the groups table: worst group, mean over groups, mean at the training split's proportions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from vhs.errors import MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.intervals import weighted_mean

Shares = Mapping[str, Mapping[str, int]]
"""attribute -> value -> training samples."""


def summarise(shift: pl.DataFrame, shares: Shares) -> pl.DataFrame:
    """One row a model, condition and attribute of the shift table. Raises MismatchError where it has no groups."""
    grouped = shift.filter(
        pl.col("group").str.contains("=", literal=True) & ~pl.col("group").str.starts_with("classes=")
    )
    if not len(grouped):
        raise MismatchError("--summary groups: the table has no groups. Measure with --by ATTRIBUTE or --by label.")
    attribute = pl.col("group").str.split_exact("=", 1).struct.field("field_0")
    keys = ["model", "model_id", "shift", "corruption", "severity", "label_set", "attribute"]
    parts = grouped.with_columns(attribute=attribute).group_by(keys, maintain_order=True)
    return frame(schemas.GROUPS, [_row(table, shares) for _, table in parts])


def _row(table: pl.DataFrame, shares: Shares) -> dict[str, Any]:
    first = table.row(0, named=True)
    worst = table.sort("top1", maintain_order=True).row(0, named=True)
    n = int(table["n"].sum())
    row = {name: first[name] for name in schemas.GROUPS.names if name in first}
    row |= {
        "n_groups": len(table), "n": n, "top1": table["n_correct"].sum() / n, "mean_top1": table["top1"].mean(),
        "worst": _value(worst["group"]), "worst_n": worst["n"], "worst_top1": worst["top1"],
        "worst_top1_lo": worst["top1_lo"], "worst_top1_hi": worst["top1_hi"],
    }  # fmt: skip
    counts = shares.get(first["attribute"], {})
    weights = [counts.get(_value(name), 0) for name in table["group"]]
    if sum(weights):
        adjusted = weighted_mean(table["n_correct"].to_numpy(), table["n"].to_numpy(), weights)
        row |= dict(zip(("adjusted_top1", "adjusted_top1_lo", "adjusted_top1_hi"), adjusted, strict=True))
    return row


def _value(group: str) -> str:
    return group.partition("=")[2]
