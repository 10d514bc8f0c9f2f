"""Means over what readings are not told apart by: heads and pairs, layers, conditions."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from vhs.errors import MismatchError
from vhs.roles import robustness

MEAN = "mean"
"""The condition that is the mean over a table's shifted ones."""
UNSHIFTED = ("clean", *robustness.UNSHIFTED)


def long_rows(rows: pl.DataFrame, values: Sequence[str], of: str | None = None, *beside: str) -> pl.DataFrame:
    """A row a value of these columns; of: the column that says what they are of; beside: further columns to keep."""
    measured = ("model", "data", "shift", "category", "condition", "layer")
    kept = [*(name for name in measured if name in rows.columns), *beside]
    told = rows if of is None else rows.with_columns(of=pl.col(of).cast(pl.String))
    parts = [
        told.select(*kept, *(["of"] if of is not None else []), what=pl.lit(name), value=pl.col(name).cast(pl.Float64))
        for name in values
    ]
    return pl.concat(parts)


def averaged(long: pl.DataFrame) -> pl.DataFrame:
    """The mean over what is left beside the keys: heads, pairs, random orders."""
    keys = [name for name in long.columns if name != "value"]
    return long.group_by(keys, maintain_order=True).agg(pl.col("value").mean())


def single(long: pl.DataFrame, *beside: str) -> pl.DataFrame:
    """Itself. Raises MismatchError where a model has several values of one thing. beside: columns of the heads that are
    averaged afterwards."""
    keys = [name for name in long.columns if name != "value"]
    twice = long.filter(pl.struct(keys).is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        of = f" of {row['of']}" if row.get("of") else ""
        raise MismatchError(
            f"{row['model']}: {row['condition'] or 'one condition'} has several values of {row['what']}{of}: groups "
            f"without all samples, or measured twice in other ways. Name tables that have it once."
        )
    return long.drop(beside)


def by_layer(long: pl.DataFrame) -> pl.DataFrame:
    """The mean over all layers, and of each."""
    whole = long.with_columns(layer=pl.lit(None, pl.Int64))
    return pl.concat([averaged(whole), averaged(long.with_columns(pl.col("layer").cast(pl.Int64)))])


def with_means(long: pl.DataFrame) -> pl.DataFrame:
    """With the mean over shifted conditions, and over those of each category, where there are several; none of a value
    that is empty under one of them."""
    shifted = long.filter(~pl.col("shift").is_in(UNSHIFTED))
    parts = [long.with_columns(members=pl.lit(None, pl.String))]
    if shifted["condition"].n_unique() > 1:
        parts.append(_mean_of(shifted, pl.lit(MEAN)))
        known = shifted.drop_nulls("category")
        parts.append(_mean_of(known, pl.format("mean of {}", "category")))
    return pl.concat(part.drop("shift", "category") for part in parts)


def _mean_of(rows: pl.DataFrame, name: pl.Expr) -> pl.DataFrame:
    told = rows.with_columns(condition=name, member="condition")
    keys = [column for column in rows.columns if column not in ("shift", "category", "value", "members")]
    members = pl.col("member").unique().sort()
    found = told.group_by(keys, maintain_order=True).agg(
        # a mean over the conditions that happen to have a value would be of others in each model
        pl.when(pl.col("value").null_count() == 0).then(pl.col("value").mean()).alias("value"),
        members=pl.format("{} ({})", members.len(), members.str.join(" ").hash()),
    )
    empty = pl.lit(None, pl.String)
    return found.with_columns(shift=empty, category=empty).select(*rows.columns, "members")
