"""Folds rows back to tallies."""

from __future__ import annotations

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
    ordered = rows.sort("layer", "head", "fold")
    heads, folds = ordered.select("layer", "head").unique().height, rows["fold"].n_unique()
    if len(rows) != heads * folds or ordered.select("layer", "head", "fold").is_duplicated().any():
        name = condition_name(*rows.select("shift", "corruption", "severity").row(0))
        raise MismatchError(
            f"{name}: the folds table has {len(rows)} rows for {heads} heads and {folds} folds, {heads * folds} were "
            f"expected. Was it cut off, filtered or edited?"
        )
    fields = FIELDS if "n_lost" in rows.columns else ERRORS
    columns = [name if name in rows.columns else f"{name}_sum" for name in fields]
    values = ordered.select(columns).to_numpy().astype(np.int64)
    return Counts(values.reshape(heads, folds, len(fields)), fields)
