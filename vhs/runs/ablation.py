"""The ablation run: every head of every model under every condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.ablation import HeadAblation
from vhs.measures.fills import Bank
from vhs.measures.regression import RegressionAblation
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.runs import cache, regression
from vhs.runs.conditions import Condition
from vhs.runs.frames import ablation_frames, by_fill, fold_frame, outcome_frame
from vhs.runs.journal import NOTHING_KEPT, Keeping, Results
from vhs.runs.run import Run, sweep


@dataclass(frozen=True)
class Ablated:
    """What one finished condition gives: the ablate rows, the folds rows, and the outcomes rows where asked for."""

    rows: pl.DataFrame
    folds: pl.DataFrame
    outcomes: pl.DataFrame


def ablate(run: Run, keeping: Keeping = NOTHING_KEPT, *, outcomes: bool = False) -> Iterator[Ablated]:
    """Yield each finished condition of all models. outcomes: whether to give each sample's, too."""
    banks = banks_of(run)

    numbers = regression.is_regression(run)

    def make(model: Model, scope: Scope) -> HeadAblation | RegressionAblation:
        bank = banks.get(id(model))
        if numbers:
            return regression.ablation(run, model, bank)
        return HeadAblation(
            model, scope, run.group, kinds=run.fills, bank=bank, unit=run.unit, rescale=run.rescale, keep=outcomes
        )

    for condition, results in sweep(run, make, keeping, {"measure": "ablate", "per_sample": outcomes}):
        yield _told(run, condition, results, numbers=numbers, keep=outcomes)


def banks_of(run: Run) -> dict[int, Bank]:
    """The calibration bank of each model, by its id(); none where no fill needs one."""
    maps = "mean-map" in run.fills
    return {id(model): Bank(model, run.calibration.batches, maps=maps) for model in run.models if run.calibration}


def _told(run: Run, condition: Condition, results: Results, *, numbers: bool, keep: bool) -> Ablated:
    """The tables of one condition; of regression the rows alone."""
    pairs = list(zip(run.models, results, strict=True))
    nothing = frame(schemas.OUTCOMES, [])
    if numbers:
        rows = [regression.ablation_frame(run, condition, model, tallies["units"]) for model, tallies in pairs]
        return Ablated(pl.concat(rows), frame(schemas.FOLDS, []), nothing)
    folds = [
        fold_frame(run, condition, model, sums, kind)
        for model, tallies in pairs
        for kind, sums in by_fill(run, model, tallies["units"])
    ]
    rows = [ablation_frames(run, condition, model, tallies) for model, tallies in pairs]
    return Ablated(pl.concat(rows), pl.concat(folds), _outcomes(run, condition, results) if keep else nothing)


def _outcomes(run: Run, condition: Condition, results: Results) -> pl.DataFrame:
    samples = cache.chosen(condition.data or run.source, run.max_samples, run.seed)
    return pl.concat([
        outcome_frame(run, condition, model, tallies["outcomes"], samples)
        for model, tallies in zip(run.models, results, strict=True)
    ])  # fmt: skip
