"""Runs on data with targets: squared errors by target, intact, under shift and without each head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from vhs.counts import Counts
from vhs.errors import UsageError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import intervals
from vhs.measures.contrast import tested
from vhs.measures.fills import Bank
from vhs.measures.regression import RegressionAblation, RegressionEvaluation, errors
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.runs.conditions import Condition
from vhs.runs.frames import by_fill, measured, number, unit_keys
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.run import Run, sweep


def is_regression(run: Run) -> bool:
    """Whether the run's data has targets instead of classes. Raises UsageError for groups, which it has not."""
    if not run.data.manifest.regression:
        return False
    if run.by:
        raise UsageError("--by: rows by group are of classification only so far.")
    return True


def ablation(run: Run, model: Model, bank: Bank | None) -> RegressionAblation:
    """The measure of one model."""
    targets = len(run.data.manifest.targets)
    return RegressionAblation(model, run.group, targets, kinds=run.fills, bank=bank, unit=run.unit, rescale=run.rescale)


def evaluate(run: Run, keeping: Keeping = NOTHING_KEPT) -> Iterator[pl.DataFrame]:
    """Yield, by finished condition, the evalshift_regression rows of all models."""
    targets = len(run.data.manifest.targets)

    def make(model: Model, _scope: Scope) -> RegressionEvaluation:
        return RegressionEvaluation(model, targets)

    for condition, results in sweep(run, make, keeping, {"measure": "evalshift"}):
        pairs = zip(run.models, results, strict=True)
        rows = [row for model, tallies in pairs for row in _evaluation(run, condition, model, tallies["targets"])]
        yield frame(schemas.EVALSHIFT_REGRESSION, rows)


def ablation_frame(run: Run, condition: Condition, model: Model, sums: Counts) -> pl.DataFrame:
    """The ablate_regression rows of one model under one condition: by fill and target the sham, then the units."""
    rows = []
    for kind, part in by_fill(run, model, sums):
        for index, target in enumerate(run.data.manifest.targets):
            numbers = _numbers(Counts(part.values[:, index], part.fields), run)
            keys = unit_keys(run, condition, model, kind)
            rows += [key | {"target": target} | told for key, told in zip(keys, numbers, strict=True)]
    return frame(schemas.ABLATE_REGRESSION, rows)


def _numbers(sums: Counts, run: Run) -> Sequence[dict[str, Any]]:
    """Per unit, from Counts [U, F]: errors, their change, and the change relative to the intact error."""
    n = sums.total("n")
    intact = sums.total_float("se_intact") / n
    change, lo, hi = intervals.mean_interval(sums.total("dse"), sums.total("dse_sq"), n)
    relative = change / np.maximum(intact, 1e-12)
    rest = {name: sums.total(name)[:, None] - sums[name] for name in ("dse", "se_intact")}
    without = (rest["dse"] / np.maximum(rest["se_intact"], 1)).T
    rel_lo, rel_hi, _ = tested(relative, without)
    p = intervals.normal_p(change, hi)
    q = intervals.benjamini_hochberg(p[1:])
    return [
        {
            "n": int(n[unit]), "mse_intact": intact[unit], "mse": intact[unit] + change[unit], "dmse": change[unit],
            "dmse_lo": number(lo[unit]), "dmse_hi": number(hi[unit]), "dmse_rel": relative[unit],
            "dmse_rel_lo": rel_lo[unit], "dmse_rel_hi": rel_hi[unit], "p": None if run.adaptive else p[unit],
            "q": q[unit - 1] if unit and not run.adaptive else None,
        }
        for unit in range(len(n))
    ]  # fmt: skip


def _evaluation(run: Run, condition: Condition, model: Model, sums: Counts) -> Iterator[dict[str, Any]]:
    for index, target in enumerate(run.data.manifest.targets):
        part = Counts(sums.values[index], sums.fields)
        told = errors(part)
        _, lo, hi = intervals.mean_interval(part.total("se"), part.total("se_sq"), told.n)
        yield measured(run, condition, model) | told._asdict() | {
            "target": target, "mse_lo": number(lo), "mse_hi": number(hi),
            "mae": float(part.total_float("ae")) / told.n,
        }  # fmt: skip
