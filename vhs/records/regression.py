"""Tallies of squared errors to tables, by target: intact, under shift and without each head."""

from __future__ import annotations

import polars as pl

from vhs.counts import Counts
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.records.ablation import Ablated, by_fill, unit_keys
from vhs.records.evaluation import Evaluated
from vhs.records.record import ConditionRecord, ModelRecord, Record, Results
from vhs.summaries import tallied


def evaluation(record: Record, condition: ConditionRecord, results: Results) -> Evaluated:
    """The evalshift_regression rows of all models under one condition."""
    rows = []
    for model, tallies in zip(record.models, results, strict=True):
        sums, keys = tallies["targets"], record.keys(condition, model)
        for index, target in enumerate(record.targets):
            rows.append(keys | {"target": target} | tallied.squared_errors(Counts(sums.values[index], sums.fields)))
    return Evaluated(frame(schemas.EVALSHIFT_REGRESSION, rows), frame(schemas.CALIBRATION, []))


def ablation(record: Record, condition: ConditionRecord, results: Results) -> Ablated:
    """The tables of one condition."""
    pairs = [(model, tallies["units"]) for model, tallies in zip(record.models, results, strict=True)]
    rows, folds = (
        pl.concat([make_frame(record, condition, *pair) for pair in pairs]) for make_frame in (_ablations, _folds)
    )
    return Ablated(rows, folds, frame(schemas.OUTCOMES, []))


def _folds(record: Record, condition: ConditionRecord, model: ModelRecord, sums: Counts) -> pl.DataFrame:
    """The folds_regression rows of one model under one condition: by fill and target, by unit, then by fold."""
    rows = []
    for kind, part in by_fill(record, model, sums):
        keys = list(unit_keys(record, condition, model, kind))
        for index, target in enumerate(record.targets):
            by_unit = tallied.error_folds(Counts(part.values[:, index], part.fields))
            rows += [
                key | {"target": target} | row for key, own in zip(keys, by_unit, strict=True) for row in own
            ]  # fmt: skip
    return frame(schemas.FOLDS_REGRESSION, rows)


def _ablations(record: Record, condition: ConditionRecord, model: ModelRecord, sums: Counts) -> pl.DataFrame:
    """The ablate_regression rows of one model under one condition: by fill and target the sham, then the units."""
    rows = []
    for kind, part in by_fill(record, model, sums):
        for index, target in enumerate(record.targets):
            numbers = tallied.error_ablation_rows(Counts(part.values[:, index], part.fields), adaptive=record.adaptive)
            keys = unit_keys(record, condition, model, kind)
            rows += [key | {"target": target} | row for key, row in zip(keys, numbers, strict=True)]
    return frame(schemas.ABLATE_REGRESSION, rows)
