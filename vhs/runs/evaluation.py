"""The evaluation run: accuracy, loss and calibration of every model under every condition."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.evaluation import Evaluation
from vhs.runs.frames import evaluation_row
from vhs.runs.run import Run, sweep


def evaluate(run: Run) -> Iterator[pl.DataFrame]:
    """Yield, by finished condition, the evalshift rows of all models."""
    for condition, results in sweep(run, Evaluation):
        pairs = zip(run.models, results, strict=True)
        yield frame(schemas.EVALSHIFT, [evaluation_row(run, condition, model, tallies) for model, tallies in pairs])
