"""Runs on data with targets: squared errors by target, intact, under shift and without each head."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from vhs.counts import Counts
from vhs.errors import UsageError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.regression import RegressionEvaluation
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.runs.conditions import Condition
from vhs.runs.frames import by_fill, measured_keys, unit_keys
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.run import Run, sweep
from vhs.summaries import tallied


def is_regression(run: Run) -> bool:
    """Whether the run's data has targets instead of classes. Raises UsageError for groups, which it has not."""
    if not run.data.manifest.regression:
        return False
    if run.by:
        raise UsageError("--by: rows by group are of classification only so far.")
    return True


def evaluate(run: Run, keeping: Keeping = NOTHING_KEPT) -> Iterator[pl.DataFrame]:
    """Yield, by finished condition, the evalshift_regression rows of all models."""
    targets = run.data.manifest.targets

    def make(model: Model, _scope: Scope) -> RegressionEvaluation:
        return RegressionEvaluation(model, len(targets))

    for condition, results in sweep(run, make, keeping, {"measure": "evalshift"}):
        rows = []
        for model, tallies in zip(run.models, results, strict=True):
            sums, keys = tallies["targets"], measured_keys(run, condition, model)
            for index, target in enumerate(targets):
                rows.append(keys | {"target": target} | tallied.squared_errors(Counts(sums.values[index], sums.fields)))
        yield frame(schemas.EVALSHIFT_REGRESSION, rows)


def fold_frame(run: Run, condition: Condition, model: Model, sums: Counts) -> pl.DataFrame:
    """The folds_regression rows of one model under one condition: by fill and target, by unit, then by fold."""
    rows = []
    for kind, part in by_fill(run, model, sums):
        keys = list(unit_keys(run, condition, model, kind))
        for index, target in enumerate(run.data.manifest.targets):
            by_unit = tallied.error_folds(Counts(part.values[:, index], part.fields))
            rows += [
                key | {"target": target} | row for key, own in zip(keys, by_unit, strict=True) for row in own
            ]  # fmt: skip
    return frame(schemas.FOLDS_REGRESSION, rows)


def ablation_frame(run: Run, condition: Condition, model: Model, sums: Counts) -> pl.DataFrame:
    """The ablate_regression rows of one model under one condition: by fill and target the sham, then the units."""
    rows = []
    for kind, part in by_fill(run, model, sums):
        for index, target in enumerate(run.data.manifest.targets):
            numbers = tallied.error_ablation_rows(Counts(part.values[:, index], part.fields), adaptive=run.adaptive)
            keys = unit_keys(run, condition, model, kind)
            rows += [key | {"target": target} | row for key, row in zip(keys, numbers, strict=True)]
    return frame(schemas.ABLATE_REGRESSION, rows)
