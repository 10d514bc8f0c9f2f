"""The specialization run: what every head looks at, and how differently heads look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from vhs.measures.map_source import source_of
from vhs.measures.scoring import Scope
from vhs.measures.specialization import Specialization
from vhs.models.model import Model
from vhs.runs.frames import head_frame, pair_frame
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.run import Run, sweep


@dataclass(frozen=True)
class Specialized:
    """What one finished condition gives: the heads rows and the pairs rows."""

    heads: pl.DataFrame
    pairs: pl.DataFrame


def specialize(run: Run, keeping: Keeping = NOTHING_KEPT, *, across: bool = True) -> Iterator[Specialized]:
    """Yield each finished condition of all models.

    across: whether pairs of heads span layers.
    """
    sources = {id(model): source_of(model) for model in run.models}  # once: some run their network to find their maps

    def make(model: Model, _scope: Scope | None = None) -> Specialization:
        return Specialization(model, across=across, source=sources[id(model)])

    layouts = [make(model) for model in run.models]
    for condition, results in sweep(run, make, keeping, {"measure": "specialize", "across": across}):
        pairs = list(zip(layouts, results, strict=True))
        yield Specialized(
            pl.concat([head_frame(run, condition, layout, tallies["heads"]) for layout, tallies in pairs]),
            pl.concat([pair_frame(run, condition, layout, tallies["pairs"]) for layout, tallies in pairs]),
        )
