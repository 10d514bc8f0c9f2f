"""Tallies of an evaluation to tables: accuracy, loss and calibration of every model under every condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from vhs import summary
from vhs.counts import Counts
from vhs.formats import schemas
from vhs.formats import tables as files
from vhs.formats.tables import frame
from vhs.progress import silent
from vhs.records.record import ConditionRecord, ModelRecord, Record, Results
from vhs.summaries import tallied
from vhs.summaries.mce import Folds
from vhs.summaries.tallied import Row
from vhs.summary import Asked


@dataclass(frozen=True)
class Evaluated:
    """What one finished condition gives: the evalshift rows, the calibration rows, and tallies by fold."""

    rows: pl.DataFrame
    bins: pl.DataFrame
    folds: Folds = field(default_factory=dict)


def tables(record: Record, condition: ConditionRecord, results: Results) -> Evaluated:
    """The tables of one condition."""
    folds: Folds = {}
    for model, tallies in zip(record.models, results, strict=True):
        if condition.corruption:
            sums = tallies["view0"]
            folds[model.model_id, condition.corruption, condition.severity] = sums["n"], sums["n_correct"]
    parts = [
        _frames(record, condition, index, tallies)
        for index, tallies in zip(range(len(record.models)), results, strict=True)
    ]  # fmt: skip
    rows, bins = zip(*parts, strict=True)
    return Evaluated(pl.concat(rows), pl.concat(bins), folds)


def summary_of(record: Record, parts: Sequence[Evaluated], asked: Asked) -> pl.DataFrame:
    """A summary of all conditions, with what the record knows beside its rows: classes, folds, shares of groups."""
    folds = {key: tallies for part in parts for key, tallies in part.folds.items()}
    known = replace(asked, classes=record.classes, folds=folds, shares=record.shares)
    return summary.of(asked).make(pl.concat(part.rows for part in parts), known, files.read, silent)


def _frames(
    record: Record, condition: ConditionRecord, index: int, tallies: dict[str, Counts]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The evalshift and the calibration rows of one model under one condition: each view, then each sample group."""
    rows, bins = [], []
    geometry = dict(zip(("size", "preprocess"), condition.geometry[index], strict=True))
    for keys, sums, binned in _evaluations(record, condition, record.models[index], tallies):
        if sums["n"]:
            rows.append(keys | tallied.evaluation_row(sums, binned) | geometry)
            bins += [keys | row for row in tallied.confidence_bins(binned)]
    return frame(schemas.EVALSHIFT, rows), frame(schemas.CALIBRATION, bins)


def _evaluations(
    record: Record, condition: ConditionRecord, model: ModelRecord, tallies: dict[str, Counts]
) -> Iterator[tuple[Row, dict[str, int], Counts]]:
    """(keys, sums by field, confidence bins) of every row."""
    keys = record.keys(condition, model)
    for index, view in enumerate(condition.views):
        sums, binned = tallies[f"view{index}"], tallies[f"view{index}.bins"]
        totals = {name: int(sums.total(name)) for name in sums.fields}
        yield keys | view._asdict(), totals, Counts(binned.values.sum(0), binned.fields)
    sums, binned = tallies["groups"], tallies["groups.bins"]
    for index, name in enumerate(condition.groups):
        totals = {field: int(sums[field][index]) for field in sums.fields}
        named = keys | condition.views[0]._asdict() | {"group": name}
        yield named, totals, Counts(binned.values[index], binned.fields)
