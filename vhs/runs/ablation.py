"""The ablation run: every head of every model under every condition, removed or estimated."""

from __future__ import annotations

from collections.abc import Iterator

from vhs.measures.ablation import HeadAblation
from vhs.measures.direct import DirectEstimate
from vhs.measures.fills import Bank
from vhs.measures.regression import RegressionAblation
from vhs.measures.scoring import Scope
from vhs.measures.taylor import TaylorEstimate
from vhs.models.model import Model
from vhs.records.ablation import Ablated
from vhs.records.record import ABLATE, ABLATE_REGRESSION, ESTIMATE
from vhs.runs.evaluation import is_regression
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.recording import Measured, model_record, record_of
from vhs.runs.run import Run


def ablate(run: Run, keeping: Keeping = NOTHING_KEPT, *, outcomes: bool = False) -> Iterator[Ablated]:
    """Yield each finished condition of all models, by the run's method.

    outcomes: whether to give each sample's, too.
    """
    yield from measure(run, keeping, outcomes=outcomes).tables()


def measure(run: Run, keeping: Keeping = NOTHING_KEPT, *, outcomes: bool = False) -> Measured:
    """The same before it becomes rows."""
    if run.ablation.method != "exact":
        return _estimate(run, keeping)
    banks = banks_of(run)
    numbers = is_regression(run)

    def make(model: Model, scope: Scope) -> HeadAblation | RegressionAblation:
        bank = banks.get(id(model))
        if numbers:
            return RegressionAblation(model, run.stack, len(run.data.manifest.targets), run.ablation, bank=bank)
        return HeadAblation(model, scope, run.stack, run.ablation, bank=bank, keep=outcomes)

    models = [model_record(model, heads=True) for model in run.models]
    measured = ABLATE_REGRESSION if numbers else ABLATE
    record = record_of(run, measured, models=models, outcomes=outcomes and not numbers)
    return Measured.of(run, record, make, keeping, {"measure": "ablate", "per_sample": outcomes})


def _estimate(run: Run, keeping: Keeping) -> Measured:
    """Each finished condition with the estimates of all models, of the run's only fill."""
    banks, method = banks_of(run), run.ablation.method
    estimate = ESTIMATES[method]

    def make(model: Model, scope: Scope) -> TaylorEstimate | DirectEstimate:
        return estimate(model, scope, kind=run.ablation.fills[0], bank=banks.get(id(model)))

    record = record_of(run, ESTIMATE, models=[model_record(model, heads=True) for model in run.models])
    return Measured.of(run, record, make, keeping, {"measure": method})


ESTIMATES: dict[str, type[TaylorEstimate] | type[DirectEstimate]] = {
    "taylor": TaylorEstimate,
    "direct": DirectEstimate,
}
"""By method of ablation_options.METHODS."""


def banks_of(run: Run) -> dict[int, Bank]:
    """The bank of each model, by its id(); none where no fill needs one."""
    if run.fill_images is None:
        return {}
    batches = [images.to(run.device) for images in run.fill_images.batches]
    maps = any(kind.maps for kind in run.ablation.fills)
    return {id(model): Bank(model, batches, maps=maps) for model in run.models}
