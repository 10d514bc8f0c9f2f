"""The matching run: heads of models beside those of another one."""

from __future__ import annotations

from dataclasses import replace

from vhs.errors import UsageError
from vhs.measures.matching import Matching
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.records.record import MATCH
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.recording import Measured, model_record, record_of
from vhs.runs.run import Run


def measure(run: Run, keeping: Keeping = NOTHING_KEPT) -> Measured:
    """The matches of all models but the last, each beside the last."""
    *models, other = run.models
    if not models:
        raise UsageError("--against: takes a model to compare with it. Name one.")
    records = [  # what does not fit is told before the sweep
        replace(model_record(model), matchings=Matching(model, other).listing) for model in models
    ]
    alone = replace(run, models=models)

    def make(model: Model, scope: Scope) -> Matching:
        return Matching(model, other, scope)

    record = replace(record_of(alone, MATCH, models=records), other=(other.name, other.weights_id))
    return Measured.of(alone, record, make, keeping, {"measure": "match", "against": other.weights_id})
