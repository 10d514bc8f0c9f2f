"""From folds tables to counts of dispensable heads."""

from __future__ import annotations

import polars as pl

from vhs.errors import UsageError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import redundancy
from vhs.summaries.comparison import CONDITION, RUN_KEYS
from vhs.summaries.fold_tallies import fold_counts


def redundancies(folds: pl.DataFrame, tolerance: float, *, seed: int = 0) -> pl.DataFrame:
    """The redundancy table: a row a model and condition."""
    if "n_lost" not in folds.columns:
        raise UsageError("--summary redundancy: counts answers; these tables are of targets.")
    heads = folds.filter(pl.col("unit") == "head")
    rows = []
    for _, part in heads.group_by([*RUN_KEYS, "data", *CONDITION], maintain_order=True):
        counts = fold_counts(part)
        found = redundancy.redundancy(counts, tolerance, seed=seed)
        keys = {name: part[name][0] for name in schemas.REDUNDANCY.names if name in part.columns}
        rows.append(keys | {
            "n": int(counts["n"][0].sum()), "n_heads": len(counts.values), "tolerance": tolerance,
            "n_redundant": found.redundant, "n_needed": found.needed, "n_undecided": found.undecided,
            "redundant": found.redundant / len(counts.values), "equal_p": found.equal_p,
        })  # fmt: skip
    return frame(schemas.REDUNDANCY, rows)
