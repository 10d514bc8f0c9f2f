"""The evaluation run: accuracy, loss and calibration, or squared errors, of every model under every condition."""

from __future__ import annotations

from collections.abc import Iterator

from vhs.errors import UsageError
from vhs.measures.evaluation import Evaluation
from vhs.measures.regression import RegressionEvaluation
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.records.evaluation import Evaluated
from vhs.records.record import EVALSHIFT, EVALSHIFT_REGRESSION
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.recording import Measured, record_of
from vhs.runs.run import Run


def evaluate(run: Run, keeping: Keeping = NOTHING_KEPT) -> Iterator[Evaluated]:
    """Yield each finished condition of all models."""
    yield from measure(run, keeping).tables()


def measure(run: Run, keeping: Keeping = NOTHING_KEPT) -> Measured:
    """The same before it becomes rows."""
    targets = len(run.data.manifest.targets)
    numbers = is_regression(run)

    def make(model: Model, scope: Scope) -> Evaluation | RegressionEvaluation:
        return RegressionEvaluation(model, targets) if numbers else Evaluation(model, scope)

    record = record_of(run, EVALSHIFT_REGRESSION if numbers else EVALSHIFT)
    return Measured.of(run, record, make, keeping, {"measure": "evalshift"})


def is_regression(run: Run) -> bool:
    """Whether the run's data has targets instead of classes. Raises UsageError for groups, which it has not."""
    if not run.data.manifest.regression:
        return False
    if run.by:
        raise UsageError("--by: rows by group are of classification only so far.")
    return True
