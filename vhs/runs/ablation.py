"""The ablation run: every head of every model under every condition."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from vhs.measures.ablation import HeadAblation
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.runs.frames import ablation_frame, fold_frame
from vhs.runs.journal import Journal
from vhs.runs.run import Run, sweep
from vhs.world import is_first


def ablate(run: Run, *, out: Path | None = None, resume: bool = False) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield, by finished condition, the ablate rows and the folds rows of all models.

    out: the file the rows will be written to; finished conditions are kept beside it until the
    iterator is exhausted, and `resume` continues from them.
    """

    def make(model: Model, scope: Scope) -> HeadAblation:
        return HeadAblation(model, scope, run.group)

    journal = Journal(out if is_first() else None, run.fingerprint() | {"measure": "ablate"}, resume=resume)
    if resume:
        run.note(f"continuing after {journal.found} of {len(run.conditions)} conditions")
    elif journal.dropped:
        run.note(
            f"starting anew; {journal.dropped} finished conditions of an earlier run dropped (--resume keeps them)"
        )
    for condition, results in sweep(run, make, journal):
        units = [tallies["units"] for tallies in results]
        pairs = list(zip(run.models, units, strict=True))
        yield (
            pl.concat([ablation_frame(run, condition, model, sums) for model, sums in pairs]),
            pl.concat([fold_frame(run, condition, model, sums) for model, sums in pairs]),
        )
