"""First-order estimates instead of exact sweeps, and how well they do. The second half does not import torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl

from vhs.counts import from_fixed
from vhs.errors import MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import intervals
from vhs.runs.journal import NOTHING_KEPT, Keeping

if TYPE_CHECKING:
    from vhs.counts import Counts
    from vhs.measures.scoring import Scope
    from vhs.measures.taylor import TaylorEstimate
    from vhs.models.model import Model
    from vhs.runs.ablation import Ablated
    from vhs.runs.conditions import Condition
    from vhs.runs.run import Run

KEYS = ["model", "model_id", "data", "shift", "category", "corruption", "severity", "fill"]


def estimate(run: Run, method: str = "taylor", keeping: Keeping = NOTHING_KEPT) -> Iterator[Ablated]:
    """Yield each finished condition with the estimates rows of all models, of the run's first fill.

    method: `taylor` or `direct`.
    """
    from vhs.measures.direct import DirectEstimate
    from vhs.measures.taylor import TaylorEstimate
    from vhs.runs.ablation import Ablated, banks_of
    from vhs.runs.run import sweep

    banks = banks_of(run)

    measure: type[TaylorEstimate] | type[DirectEstimate] = TaylorEstimate if method == "taylor" else DirectEstimate

    def make(model: Model, scope: Scope) -> TaylorEstimate | DirectEstimate:
        return measure(model, scope, kind=run.fills[0], bank=banks.get(id(model)))

    for condition, results in sweep(run, make, keeping, {"measure": method}):
        pairs = zip(run.models, results, strict=True)
        rows = [row for model, tallies in pairs for row in _rows(run, condition, model, tallies["units"], method)]
        yield Ablated(frame(schemas.ESTIMATES, rows), pl.DataFrame(), pl.DataFrame())


def _rows(run: Run, condition: Condition, model: Model, sums: Counts, method: str) -> Iterator[dict[str, Any]]:
    from vhs.runs.frames import measured

    n = sums.total("n")
    mean, lo, hi = intervals.mean_interval(sums.total("dloss"), sums.total("dloss_sq"), n)
    score = from_fixed(sums.total("score")) / n
    token = from_fixed(sums.total("score_token")) / n if "score_token" in sums.fields else None
    fill_data = run.calibration.name if run.calibration else None
    keys = measured(run, condition, model) | {
        "fill": run.fills[0], "fill_data": fill_data, "method": method, "precision": model.precision,
    }  # fmt: skip
    for index, head in enumerate(model.grid):
        yield keys | head._asdict() | {
            "n": int(n[index]), "dloss": float(mean[index]), "dloss_lo": float(lo[index]),
            "dloss_hi": float(hi[index]), "score": float(score[index]),
            "score_token": None if token is None else float(token[index]),
        }  # fmt: skip


def beside_exact(estimates: pl.DataFrame, exact: pl.DataFrame) -> pl.DataFrame:
    """The estimated table: heads and conditions that both have. Raises MismatchError where they share none."""
    from scipy.stats import spearmanr

    heads = exact.filter((pl.col("unit") == "head") & (pl.col("group") == "all"))
    joined = estimates.join(
        heads, on=[*KEYS, "layer", "head"], nulls_equal=True, suffix="_exact", maintain_order="left"
    )
    if not len(joined):
        raise MismatchError("--exact: the tables share no head under one condition and fill.")
    parts = []
    for _, part in joined.group_by(KEYS, maintain_order=True):
        r = float(spearmanr(part["dloss"], part["dloss_exact"])[0]) if len(part) > 2 else 0.0
        parts.append(part.with_columns(r=pl.lit(r), estimate=pl.col("dloss"), exact=pl.col("dloss_exact")))
    table = pl.concat(parts)
    return frame(schemas.ESTIMATED, table.select(schemas.ESTIMATED.names).to_dicts())
