"""From a heads table and folds to the metrics table: which measure of heads goes with how much they matter?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from vhs.errors import MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import association
from vhs.measures.contrast import SCALES, summed
from vhs.measures.correlation import Importances
from vhs.measures.intervals import benjamini_hochberg
from vhs.progress import Progress, silent
from vhs.roles import recipes
from vhs.summaries.comparison import CONDITION, scales_of
from vhs.summaries.fold_tallies import fold_counts
from vhs.summaries.tallied import Row, number

MEASURE = ["metric", "of", "query", "weighting"]
LAID_OUT = ("mds_1", "mds_2", "order", "cluster")
"""Places of heads beside each other, in which more or less means nothing."""
FEWEST = 5


class Measured(NamedTuple):
    """A measure of all heads: its names, values and bounds, [H] each."""

    names: Row
    value: np.ndarray
    lo: np.ndarray
    hi: np.ndarray


def metrics(
    heads: pl.DataFrame, folds: pl.DataFrame, scales: Sequence[str], *, seed: int = 0, progress: Progress = silent
) -> pl.DataFrame:  # fmt: skip
    """The metrics table: every measure against the importance of heads under every condition of the ablation, by model.

    A measure counts as measured under the same condition, where it was; else on clean images. Raises MismatchError
    where the tables share no model.
    """
    recipes.check_one_set(heads)
    keys = ["model_id", "data", *CONDITION, "layer", "head", *MEASURE]
    heads = heads.filter(~pl.col("metric").is_in(LAID_OUT)).unique(keys, keep="first", maintain_order=True)
    removed = folds.filter((pl.col("unit") == "head") & (pl.col("group") == "all"))
    rows: list[Row] = []
    removed = removed.filter(pl.col("model") == pl.col("model").first().over("model_id"))  # equal weights once
    parts = removed.partition_by("model_id", "target", "fill", "data", *CONDITION, maintain_order=True)
    for index, part in enumerate(parts):
        progress("correlating", index, len(parts))
        of_model = heads.filter(pl.col("model_id") == part["model_id"][0])
        if len(of_model):
            for scale in scales_of(folds, scales):
                rows += _of_condition(of_model, part, scale, seed)
    if not rows:
        raise MismatchError("--summary metrics: the tables share no model of five heads or more. Measure one model.")
    return frame(schemas.METRICS, rows)


def _of_condition(heads: pl.DataFrame, part: pl.DataFrame, scale: str, seed: int) -> list[Row]:
    counts, grid = fold_counts(part), part.select("layer", "head").unique().sort("layer", "head")
    layers, importance = grid["layer"].to_numpy(), SCALES[scale](summed(counts))
    under = _under(heads, part)
    known = list(_measures(under, grid))
    if not known:
        return []
    table_MH = np.stack([measure.value for measure in known])
    numbers: Row = {}
    for name, inside in (("", None), ("_within", layers)):
        measures, ours = association.ranks(table_MH, inside), association.ranks(importance[None], inside)[0]
        numbers[f"r{name}"], numbers[f"p{name}"] = (
            measures @ ours,
            association.permutation_p(measures, ours, inside, seed),
        )
    lo, hi = association.rank_interval(numbers["r"], len(layers))
    q = benjamini_hochberg(numbers["p"])
    reliability = float(Importances([counts], scale, layers=None, seed=seed).reliability_J[0])
    keys = {name: part[name][0] for name in schemas.METRICS.names if name in part.columns}
    rows = []
    for index, measure in enumerate(known):
        of_layer, more, p_added = association.added(measure.value, importance, layers)
        rows.append(keys | measure.names | {name: float(column[index]) for name, column in numbers.items()} | {
            "measured_under": under["shift"][0] if under["shift"][0] == "clean" else "the same", "scale": scale,
            "lo": number(lo[index]), "hi": number(hi[index]), "q": float(q[index]), "over": "heads",
            "reliability": reliability, "reliability_metric": number(association.reliability(*measure[1:])),
            "r2_layer": of_layer, "r2_added": more, "p_added": p_added, "n_heads": len(grid),
            "n": int(counts.total("n")[0]),
        })  # fmt: skip
    return rows


def _under(heads: pl.DataFrame, part: pl.DataFrame) -> pl.DataFrame:
    """The measures under the condition of the ablation, or, where there are none, on clean images."""
    condition = part.select(CONDITION).row(0)
    pairs = zip(CONDITION, condition, strict=True)
    own = heads.filter(pl.all_horizontal(pl.col(name).eq_missing(pl.lit(value)) for name, value in pairs))
    return own if len(own) else heads.filter(pl.col("shift") == "clean")


def _measures(rows: pl.DataFrame, grid: pl.DataFrame) -> Iterator[Measured]:
    """Each measure that all heads have and that differs between them."""
    if len(grid) < FEWEST:
        return
    for names, part in rows.group_by(MEASURE, maintain_order=True):
        own = grid.join(part, on=["layer", "head"], how="left", maintain_order="left")
        value = own["value"].to_numpy()
        if len(own) == len(grid) and not np.isnan(value).any() and np.ptp(value) > 0:
            lo, hi = (own[name].cast(pl.Float64).to_numpy() for name in ("lo", "hi"))
            yield Measured(dict(zip(MEASURE, names, strict=True)), value, lo, hi)
