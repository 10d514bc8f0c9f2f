"""The ablation run: every head of every model under every condition, removed or estimated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.ablation import HeadAblation
from vhs.measures.direct import DirectEstimate
from vhs.measures.fills import Bank
from vhs.measures.regression import RegressionAblation
from vhs.measures.scoring import Scope
from vhs.measures.taylor import TaylorEstimate
from vhs.models.model import Model
from vhs.runs import cache, regression
from vhs.runs.conditions import Condition
from vhs.runs.frames import ablation_frames, by_fill, estimate_frame, fold_frame, outcome_frame
from vhs.runs.journal import NOTHING_KEPT, Keeping, Results
from vhs.runs.run import Run, sweep


@dataclass(frozen=True)
class Ablated:
    """What one finished condition gives: the ablate rows, the folds rows, and the outcomes rows where asked for."""

    rows: pl.DataFrame
    folds: pl.DataFrame
    outcomes: pl.DataFrame


def ablate(run: Run, keeping: Keeping = NOTHING_KEPT, *, outcomes: bool = False) -> Iterator[Ablated]:
    """Yield each finished condition of all models, by the run's method.

    outcomes: whether to give each sample's, too.
    """
    if run.ablation.method != "exact":
        yield from _estimate(run, keeping)
        return
    banks = banks_of(run)
    numbers = regression.is_regression(run)

    def make(model: Model, scope: Scope) -> HeadAblation | RegressionAblation:
        bank = banks.get(id(model))
        if numbers:
            return RegressionAblation(model, run.stack, len(run.data.manifest.targets), run.ablation, bank=bank)
        return HeadAblation(model, scope, run.stack, run.ablation, bank=bank, keep=outcomes)

    for condition, results in sweep(run, make, keeping, {"measure": "ablate", "per_sample": outcomes}):
        if numbers:
            pairs = [(model, tallies["units"]) for model, tallies in zip(run.models, results, strict=True)]
            rows, folds = (
                pl.concat([make_frame(run, condition, *pair) for pair in pairs])
                for make_frame in (regression.ablation_frame, regression.fold_frame)
            )
            yield Ablated(rows, folds, frame(schemas.OUTCOMES, []))
        else:
            yield _frames(run, condition, results, keep=outcomes)


def _estimate(run: Run, keeping: Keeping) -> Iterator[Ablated]:
    """Yield each finished condition with the estimates rows of all models, of the run's only fill."""
    banks, method = banks_of(run), run.ablation.method
    measure = ESTIMATES[method]

    def make(model: Model, scope: Scope) -> TaylorEstimate | DirectEstimate:
        return measure(model, scope, kind=run.ablation.fills[0], bank=banks.get(id(model)))

    for condition, results in sweep(run, make, keeping, {"measure": method}):
        pairs = zip(run.models, results, strict=True)
        parts = [estimate_frame(run, condition, model, tallies["units"], method) for model, tallies in pairs]
        yield Ablated(pl.concat(parts), pl.DataFrame(), pl.DataFrame())


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


def _frames(run: Run, condition: Condition, results: Results, *, keep: bool) -> Ablated:
    """The tables of one condition."""
    pairs = list(zip(run.models, results, strict=True))
    folds = [
        fold_frame(run, condition, model, sums, kind)
        for model, tallies in pairs
        for kind, sums in by_fill(run, model, tallies["units"])
    ]
    rows = [ablation_frames(run, condition, model, tallies) for model, tallies in pairs]
    outcomes = _outcomes(run, condition, results) if keep else frame(schemas.OUTCOMES, [])
    return Ablated(pl.concat(rows), pl.concat(folds), outcomes)


def _outcomes(run: Run, condition: Condition, results: Results) -> pl.DataFrame:
    samples = cache.choose(condition.data or run.source, run.max_samples, run.seed)
    return pl.concat([
        outcome_frame(run, condition, model, tallies["outcomes"], samples)
        for model, tallies in zip(run.models, results, strict=True)
    ])  # fmt: skip
