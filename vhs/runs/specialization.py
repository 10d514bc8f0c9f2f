"""The specialization run: what every head looks at, and how differently heads look."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from vhs.measures.scoring import Scope
from vhs.measures.specialization import Specialization
from vhs.models.model import Model
from vhs.runs.frames import head_frame, pair_frame
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.run import Run, sweep


def specialize(
    run: Run, keeping: Keeping = NOTHING_KEPT, *, across: bool = True
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield, by finished condition, the heads rows and the pairs rows of all models.

    across: whether pairs of heads span layers.
    """

    def make(model: Model, _scope: Scope) -> Specialization:
        return Specialization(model, across=across)

    layouts = [Specialization(model, across=across) for model in run.models]
    for condition, results in sweep(run, make, keeping, {"measure": "specialize", "across": across}):
        pairs = list(zip(layouts, results, strict=True))
        yield (
            pl.concat([head_frame(run, condition, layout, tallies["heads"]) for layout, tallies in pairs]),
            pl.concat([pair_frame(run, condition, layout, tallies["pairs"]) for layout, tallies in pairs]),
        )
