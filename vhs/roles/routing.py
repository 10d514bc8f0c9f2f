"""From folds of three fills to the routing table: what a head's effect is made of, and what that makes of the head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from vhs.counts import Counts
from vhs.errors import MismatchError, UsageError
from vhs.formats import schemas
from vhs.formats.tables import condition_name, frame
from vhs.measures import routing
from vhs.measures.routing import FILLS, ROUTING, TOTAL, Classified
from vhs.summaries.comparison import CONDITION, scales_of
from vhs.summaries.fold_tallies import fold_counts
from vhs.summaries.tallied import Row, number

MODEL = ["model", "model_id", "target"]


def routes(folds: pl.DataFrame, scales: Sequence[str], tolerance: float) -> pl.DataFrame:
    """The routing table: a row a head, condition and scale; the class of a head is over all conditions.

    Raises UsageError without the fills it takes or without a tolerance, MismatchError where fills were measured on
    other samples.
    """
    if not 0 < tolerance < 1:
        raise UsageError(f"--tolerance {tolerance:g}: expected a share between 0 and 1, such as .01.")
    scales = scales_of(folds, scales)
    heads = folds.filter((pl.col("unit") == "head") & (pl.col("group") == "all") & pl.col("fill").is_in(FILLS))
    rows: list[Row] = []
    for _, of_model in heads.group_by(MODEL, maintain_order=True):
        rows += _of_model(of_model, scales, tolerance)
    if not rows:
        raise UsageError(f"--summary routing: {_advice(folds)}")
    return frame(schemas.ROUTING, rows)


def _of_model(folds: pl.DataFrame, scales: Sequence[str], tolerance: float) -> Iterator[Row]:
    present = folds["fill"].unique().to_list()
    if not {TOTAL, ROUTING} <= set(present):
        raise UsageError(f"--summary routing: {_advice(folds)}")
    conditions = [part for _, part in folds.group_by(["data", *CONDITION], maintain_order=True)]
    tallies = {fill: [_counts(part, fill) for part in conditions] for fill in FILLS if fill in present}
    found = routing.classify(tallies, tolerance)
    for index, part in enumerate(conditions):
        grid = part.select("layer", "head").unique().sort("layer", "head").rows()
        keys = {name: part[name][0] for name in schemas.ROUTING.names if name in part.columns}
        n = int(tallies[TOTAL][index].total("n")[0])
        for scale in scales:
            split = routing.parts(tallies, index, scale)
            for place, (layer, head) in enumerate(grid):
                yield keys | {"layer": layer, "head": head, "scale": scale, "n": n, "tolerance": tolerance} | {
                    f"{name}{end}": float(values[place])
                    for name, numbers in split.items() for end, values in zip(("", "_lo", "_hi"), numbers, strict=True)
                } | _class(found, place)  # fmt: skip


def _class(found: Classified, place: int) -> Row:
    q = {f"q_{name}": float(values[place]) for name, values in found.q.items()}
    images = number(found.images[place])
    return {"class": str(found.classes[place]), "images_needed": None if images is None else float(np.ceil(images))} | q


def _counts(part: pl.DataFrame, fill: str) -> Counts:
    """Of one fill under one condition; of the same samples as the others."""
    own = part.filter(pl.col("fill") == fill)
    name = condition_name(*part.select(CONDITION).row(0))
    if not len(own):
        raise MismatchError(f"{name}: was not measured with --fill {fill}, other conditions were.")
    counts, other = fold_counts(own), fold_counts(part.filter(pl.col("fill") == part["fill"][0]))
    if counts["n"].shape != other["n"].shape or not np.array_equal(counts["n"], other["n"]):
        raise MismatchError(f"{name}: its fills were measured on other samples or heads. Run all fills in one go.")
    return counts


def _advice(folds: pl.DataFrame) -> str:
    held = ", ".join(folds["fill"].unique(maintain_order=True).to_list())
    return f"takes --fill {','.join(FILLS)} of `vhs ablate`, in one run; the tables have {held}."
