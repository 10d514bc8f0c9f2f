"""The evaluation run: accuracy, loss and calibration of every model under every condition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from vhs import summary
from vhs.formats import schemas, tables
from vhs.formats.tables import frame
from vhs.measures.evaluation import Evaluation
from vhs.progress import silent
from vhs.runs import regression
from vhs.runs.frames import evaluation_frames
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.run import Run, sweep
from vhs.summaries.mce import Folds
from vhs.summary import Asked


@dataclass(frozen=True)
class Evaluated:
    """What one finished condition gives: the evalshift rows, the calibration rows, and tallies by fold."""

    rows: pl.DataFrame
    bins: pl.DataFrame
    folds: Folds = field(default_factory=dict)


def evaluate(run: Run, keeping: Keeping = NOTHING_KEPT) -> Iterator[Evaluated]:
    """Yield each finished condition of all models."""
    if regression.is_regression(run):
        yield from (Evaluated(rows, frame(schemas.CALIBRATION, [])) for rows in regression.evaluate(run, keeping))
        return
    for condition, results in sweep(run, Evaluation, keeping, {"measure": "evalshift"}):
        folds: Folds = {}
        for model, tallies in zip(run.models, results, strict=True):
            if condition.corruption:
                sums = tallies["view0"]
                folds[model.weights_id, condition.corruption, condition.severity] = sums["n"], sums["n_correct"]
        pairs = zip(run.models, results, strict=True)
        rows, bins = zip(*(evaluation_frames(run, condition, *pair) for pair in pairs), strict=True)
        yield Evaluated(pl.concat(rows), pl.concat(bins), folds)


def summary_of(run: Run, parts: Sequence[Evaluated], asked: Asked) -> pl.DataFrame:
    """A summary of all conditions, with what the run knows beside its rows: classes, folds, shares of groups."""
    manifest = run.data.manifest
    folds = {key: tallies for part in parts for key, tallies in part.folds.items()}
    shares = manifest.extra.get("train_groups")
    known = replace(asked, classes=len(manifest.classes), folds=folds, shares=shares)
    return summary.of(asked).make(pl.concat(part.rows for part in parts), known, tables.read, silent)
