"""The matching run: heads of models beside those of another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from vhs.errors import UsageError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.matching import Matching
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.roles import matches
from vhs.runs.frames import measured_keys
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.run import Run, sweep


def match(run: Run, keeping: Keeping = NOTHING_KEPT) -> Iterator[pl.DataFrame]:
    """Yield, by finished condition, the matches rows of all models but the last, each beside the last."""
    *models, other = run.models
    if not models:
        raise UsageError("--against: takes a model to compare with it. Name one.")
    first = {id(model): Matching(model, other) for model in models}  # what does not fit is told before the sweep
    alone = replace(run, models=models)
    described = {"measure": "match", "against": other.weights_id}

    def make(model: Model, scope: Scope) -> Matching:
        return Matching(model, other, scope)

    for condition, results in sweep(alone, make, keeping, described):
        parts = []
        for model, tallies in zip(models, results, strict=True):
            keys = measured_keys(run, condition, model) | {"model_b": other.name, "model_b_id": other.weights_id}
            found = matches.rows(first[id(model)], tallies["pairs"], tallies["cells"])
            parts.append(frame(schemas.MATCHES, [row | keys for row in found]))
        yield pl.concat(parts)
