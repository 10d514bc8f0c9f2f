"""The evaluation run: accuracy, loss and calibration of every model under every condition."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.evaluation import Evaluation
from vhs.runs import regression
from vhs.runs.frames import evaluation_frames
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.run import Run, sweep
from vhs.summaries.mce import Folds


def evaluate(
    run: Run, folds: Folds | None = None, keeping: Keeping = NOTHING_KEPT
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield, by finished condition, the evalshift rows and the calibration rows of all models.

    folds: filled with the fold tallies of corruptions, for `mce.summarise`.
    """
    if regression.is_regression(run):
        yield from ((rows, frame(schemas.CALIBRATION, [])) for rows in regression.evaluate(run, keeping))
        return
    for condition, results in sweep(run, Evaluation, keeping, {"measure": "evalshift"}):
        pairs = list(zip(run.models, results, strict=True))
        if folds is not None and condition.corruption:
            for model, tallies in pairs:
                sums = tallies["view0"]
                folds[model.weights_id, condition.corruption, condition.severity] = sums["n"], sums["n_correct"]
        rows, bins = zip(*(evaluation_frames(run, condition, *pair) for pair in pairs), strict=True)
        yield pl.concat(rows), pl.concat(bins)
