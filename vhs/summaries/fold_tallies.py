"""Folds rows back to tallies. Does not import torch."""

from __future__ import annotations

import numpy as np
import polars as pl

from vhs.counts import Counts

FIELDS = ("n", "n_correct_intact", "n_correct", "n_lost", "n_gained", "dloss", "dloss_sq")


def fold_counts(rows: pl.DataFrame) -> Counts:
    """Counts [H, F] from the folds rows of one condition's heads, ordered by layer, head and fold."""
    ordered = rows.sort("layer", "head", "fold")
    heads = ordered.select("layer", "head").unique().height
    columns = [f"{name}_sum" if name.startswith("dloss") else name for name in FIELDS]
    values = ordered.select(columns).to_numpy().astype(np.int64)
    return Counts(values.reshape(heads, -1, len(FIELDS)), FIELDS)
