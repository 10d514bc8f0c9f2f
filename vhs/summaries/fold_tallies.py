"""Folds rows back to tallies."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.formats.tables import condition_name

ERRORS = ("n", "se_intact", "dse", "dse_sq")
FIELDS = ("n", "n_correct_intact", "n_correct", "n_lost", "n_gained", "dloss", "dloss_sq")


def fold_counts(rows: pl.DataFrame) -> Counts:
    """Counts [H, F] from the folds rows of one condition's heads, ordered by layer, head and fold.

    Raises MismatchError where they do not hold every fold of every head, each once.
    """
    _, counts = condition_counts(rows.with_columns(_one=pl.lit(0)), ["_one"])
    return Counts(counts.values[0], counts.fields)


def condition_counts(rows: pl.DataFrame, keys: list[str]) -> tuple[list[tuple[Any, ...]], Counts]:
    """(conditions, Counts [C, H, F]) of the folds rows of heads under several conditions, in the table's order, by one
    sort. keys: the columns that tell conditions apart.

    Raises MismatchError where a condition does not hold every fold of every head, each once.
    """
    names = rows.select(keys).unique(maintain_order=True)
    placed = rows.join(names.with_row_index("_at"), on=keys, nulls_equal=True, maintain_order="left")
    ordered = placed.sort("_at", "layer", "head", "fold")
    heads, folds = ordered.select("layer", "head").unique().height, rows["fold"].n_unique()
    places = ordered.select("_at", "layer", "head", "fold")
    if len(rows) != len(names) * heads * folds or places.is_duplicated().any():
        name = condition_name(*rows.select("shift", "corruption", "severity").row(0))
        where = name if len(names) == 1 else f"{len(names)} conditions from {name} on"
        raise MismatchError(
            f"{where}: the folds table has {len(rows)} rows for {heads} heads and {folds} folds, "
            f"{len(names) * heads * folds} were expected. Was it cut off, filtered or edited?"
        )
    fields = FIELDS if "n_lost" in rows.columns else ERRORS
    columns = [name if name in rows.columns else f"{name}_sum" for name in fields]
    values = ordered.select(columns).to_numpy().astype(np.int64)
    return names.rows(), Counts(values.reshape(len(names), heads, folds, len(fields)), fields)
