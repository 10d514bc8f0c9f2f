"""From folds of snapshots to the trajectory table: when do heads take the importance that they have in the end?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from vhs.counts import Counts
from vhs.errors import UsageError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import correlation
from vhs.measures.association import gini
from vhs.measures.contrast import SCALES, leave_one_out, summed
from vhs.measures.correlation import Importances
from vhs.measures.intervals import jackknife
from vhs.progress import Progress, silent
from vhs.roles import recipes
from vhs.summaries.comparison import CONDITION, scales_of
from vhs.summaries.fold_tallies import fold_counts

RUN = ["run", "seed", "target", "fill", "data", *CONDITION]


def trajectories(
    folds: pl.DataFrame, scales: Sequence[str], *, seed: int = 0, progress: Progress = silent
) -> pl.DataFrame:  # fmt: skip
    """The trajectory table: each snapshot of each run under each condition, beside the run's last one.

    Snapshots of one run are told by their names (`vit.snapshots/step-…` and `vit`) and their seed. Raises UsageError
    where no run has two.
    """
    heads = folds.filter((pl.col("unit") == "head") & (pl.col("group") == "all") & pl.col("step").is_not_null())
    named = recipes.named(heads)
    recipes.check_one_set(named)
    rows: list[dict[str, Any]] = []
    runs = named.partition_by(RUN, maintain_order=True)
    for number, part in enumerate(runs):
        progress("correlating", number, len(runs))
        if part["step"].n_unique() > 1:
            for scale in scales_of(folds, scales):
                rows += _of_run(part, scale, seed)
    if not rows:
        raise UsageError("--summary trajectory: no run has two snapshots here. `vhs train --snapshots log` keeps them.")
    return frame(schemas.TRAJECTORY, rows)


def _of_run(part: pl.DataFrame, scale: str, seed: int) -> Iterator[dict[str, Any]]:
    steps = part.sort("step", maintain_order=True).partition_by("step", maintain_order=True)
    known = [(own, counts, Importances([counts], scale, layers=None, seed=seed))
             for own in steps for counts in [fold_counts(own)]]  # fmt: skip
    end = known[-1][2]
    for own, counts, importances in known:
        unequal, lo, hi = _gini(counts, scale)
        found = correlation.correlate(importances, end)
        keys = {name: own[name][0] for name in schemas.TRAJECTORY.names if name in own.columns}
        yield keys | {
            "scale": scale, "gini": unequal, "gini_lo": lo, "gini_hi": hi, "r": found.r, "r_lo": found.lo,
            "r_hi": found.hi, "reliability": found.reliability_a, "reliability_end": found.reliability_b,
            "disattenuated": found.disattenuated, "n_heads": len(counts.values), "n": int(counts.total("n")[0]),
        }  # fmt: skip


def _gini(counts: Counts, scale: str) -> tuple[float, float, float]:
    """(Gini coefficient of the importances, lo, hi), by leaving out folds."""
    value = SCALES[scale]
    whole, without = gini(value(summed(counts))), gini(leave_one_out(value, counts))
    lo, hi, _ = jackknife(np.asarray(whole), without)
    return float(whole), max(float(lo), 0.0), min(float(hi), 1.0)
