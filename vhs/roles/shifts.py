"""From folds tables to the shifts table: do the same heads serve one shift and another?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import polars as pl

from vhs.counts import Counts
from vhs.errors import UsageError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import arrangement, correlation
from vhs.measures.correlation import Correlation, Importances
from vhs.progress import Progress, silent
from vhs.roles import recipes, robustness
from vhs.summaries.comparison import CONDITION, RUN_KEYS, scales_of
from vhs.summaries.fold_tallies import fold_counts

CLEAN = "clean"
LEVELS = {"corruption": "corruption", "category": "category"}
"""What conditions are averaged over; shard sets and clean stand in each by themselves."""


@dataclass(frozen=True)
class Node:
    """A shift: the conditions that it is the mean of. images: the fewest samples of one."""

    name: str
    conditions: list[Counts]
    images: int


def shifts(
    folds: pl.DataFrame, scales: Sequence[str], *, seed: int = 0, progress: Progress = silent
) -> pl.DataFrame:  # fmt: skip
    """The shifts table: every two shifts of a model and level, overall and within layers, with clusters of shifts.

    Raises UsageError where there is only one shift.
    """
    heads = folds.filter(
        (pl.col("unit") == "head") & (pl.col("group") == "all") & ~pl.col("shift").is_in(robustness.UNSHIFTED)
    )
    recipes.check_one_set(heads)
    rows: list[dict[str, Any]] = []
    runs = heads.partition_by(RUN_KEYS, maintain_order=True)
    for number, of_run in enumerate(runs):
        progress("correlating", number, len(runs))
        for level in LEVELS:
            nodes = list(_nodes(of_run, level))
            if len(nodes) > 2 or (level == "corruption" and len(nodes) > 1):
                rows += _of_level(of_run, level, nodes, scales_of(folds, scales), seed)
    if not rows:
        raise UsageError("--summary shifts: the tables have one condition; two shifts are compared. Add --shift.")
    return frame(schemas.SHIFTS, rows)


def _nodes(folds: pl.DataFrame, level: str) -> Iterator[Node]:
    """Clean, what is averaged at this level, and shard sets without such a column."""
    named = folds.with_columns(node=pl.coalesce(pl.col(LEVELS[level]), pl.col("shift")))
    for (name,), part in named.group_by("node", maintain_order=True):
        counts = [fold_counts(own) for _, own in part.group_by(["data", *CONDITION], maintain_order=True)]
        yield Node(str(name), counts, min(int(one.total("n")[0]) for one in counts))


def _of_level(
    folds: pl.DataFrame, level: str, nodes: list[Node], scales: Sequence[str], seed: int
) -> Iterator[dict[str, Any]]:
    keys = {name: folds[name][0] for name in schemas.SHIFTS.names if name in folds.columns}
    grid = folds.select("layer", "head").unique().sort("layer", "head")
    for scale in scales:
        for layers in (None, grid["layer"].to_numpy()):
            known = [Importances(node.conditions, scale, layers=layers, seed=seed) for node in nodes]
            pairs = {(i, j): correlation.correlate(known[i], known[j])
                     for i, j in combinations_with_replacement(range(len(nodes)), 2)}  # fmt: skip
            cluster = _clusters(pairs, len(nodes))
            for (i, j), found in pairs.items():
                a, b = nodes[i], nodes[j]
                yield keys | vars(found) | {
                    "metric": scale, "within_layer": layers is not None, "level": level, "a": a.name, "b": b.name,
                    "n_conditions_a": len(a.conditions), "n_conditions_b": len(b.conditions),
                    "cluster_a": cluster[i], "cluster_b": cluster[j], "n_heads": len(grid),
                    "n_images": min(a.images, b.images),
                }  # fmt: skip


def _clusters(pairs: dict[tuple[int, int], Correlation], count: int) -> list[int | None]:
    """Of every shift its cluster by 1 - the disattenuated correlation, the largest 0; None for a shift whose
    importances are too noisy to have one."""
    steady = [index for index in range(count) if pairs[index, index].disattenuated is not None]
    found: list[int | None] = [None] * count
    if len(steady) < 3:
        return found
    distances = np.zeros((len(steady), len(steady)))
    for x, i in enumerate(steady):
        for y, j in enumerate(steady[:x]):
            r = pairs[j, i].disattenuated
            distances[x, y] = distances[y, x] = 1 - np.clip(r if r is not None else 0.0, -1, 1)
    for index, label in zip(steady, arrangement.clusters(distances).tolist(), strict=True):
        found[index] = label
    return found
