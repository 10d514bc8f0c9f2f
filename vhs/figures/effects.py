"""What an ablation table says of each head: the numbers that heat maps, scatter and summaries share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from vhs.errors import InputError
from vhs.measures.intervals import benjamini_hochberg, normal_p

ALPHA = 0.05
"""q below which a head is marked."""
CONDITION = ["shift", "corruption", "severity"]
METRICS = {"drop": ("accuracy lost without the head", "points", 100.0), "dloss": ("loss added", "nats", 1.0)}
"""metric -> (words, unit drawn, factor from the table's unit to it)."""


@dataclass(frozen=True)
class Effects:
    """One model under one condition, or averaged over several.

    value_LH, low_LH, high_LH: effect per layer and head, in the unit drawn; NaN where there is no head.
    marked_LH: q of the metric below 0.05 (averaged: in at least half of the conditions). bounds only for one condition.
    """

    title: str
    n: int
    conditions: int
    value_LH: np.ndarray
    low_LH: np.ndarray
    high_LH: np.ndarray
    marked_LH: np.ndarray
    accuracy: float


def single_fill(table: pl.DataFrame) -> pl.DataFrame:
    """The heads' rows of all samples, which must be of one fill and method to be drawn together."""
    heads = table.filter((pl.col("unit") == "head") & ((pl.col("group") == "all") | (pl.col("group").n_unique() == 1)))
    for column in ("fill", "method", "group"):
        kinds = heads[column].unique().sort().to_list()
        if len(kinds) > 1:
            raise InputError(
                f"the table holds several values of `{column}` ({', '.join(kinds)}). Keep one of them (plot --fill)."
            )
    if not len(heads):
        raise InputError("the table holds no heads, only sham rows. `vhs ablate` writes both.")
    return heads


def clean(heads: pl.DataFrame, metric: str) -> Effects | None:
    """The effects on clean images; None when the table has none."""
    rows = heads.filter(pl.col("shift") == "clean")
    return _effects(rows, metric, "clean") if len(rows) else None


def over_shifts(heads: pl.DataFrame, metric: str) -> Effects | None:
    """The effects averaged over all shifted conditions; None when the table has none."""
    rows = heads.filter(pl.col("shift") != "clean")
    if not len(rows):
        return None
    return _effects(rows, metric, shifted_title(rows))


def shifted_title(rows: pl.DataFrame) -> str:
    """What was averaged: how many conditions of how many corruptions; never a family's name for a part of it."""
    count = rows.select(CONDITION).unique().height
    if count == 1:
        return _one_name(rows)
    corruptions = rows["corruption"].drop_nulls().n_unique()
    of = f" of {corruptions} corruption{'s' * (corruptions > 1)}" if corruptions else ""
    return f"mean over {count} conditions{of}"


def by_condition(heads: pl.DataFrame, metric: str) -> list[tuple[tuple[str, str | None, int], Effects]]:
    """Every condition with its effects, in the table's order."""
    parts = heads.partition_by(CONDITION, maintain_order=True, as_dict=True)
    return [(key, _effects(part, metric, _one_name(part))) for key, part in parts.items()]


def _effects(rows: pl.DataFrame, metric: str, title: str) -> Effects:
    count = rows.select(CONDITION).unique().height
    rows = _with_q(rows, metric)
    significant = (pl.col("q") < ALPHA).mean() >= 0.5
    grouped = rows.group_by("layer", "head").agg(
        pl.col(metric, f"{metric}_lo", f"{metric}_hi").mean(), significant.alias("marked"),
        (pl.col("n_correct_intact").sum() / pl.col("n").sum()).alias("accuracy"),
    )  # fmt: skip
    scale = METRICS[metric][2]
    return Effects(
        title=title, n=int(rows["n"][0]), conditions=count,
        value_LH=grid(grouped, metric) * scale, low_LH=grid(grouped, f"{metric}_lo") * scale,
        high_LH=grid(grouped, f"{metric}_hi") * scale,
        marked_LH=grid(grouped.with_columns(pl.col("marked").cast(pl.Float64)), "marked") == 1,
        accuracy=float(grouped["accuracy"][0]),
    )  # fmt: skip


def _with_q(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
    """`rows` with the q of this metric: the table's is of `drop`; of `dloss` it follows from its normal interval.

    By Benjamini and Hochberg within a condition, as the table's, and empty where that is: there the data chose their
    number.
    """
    if metric == "drop":
        return rows
    parts = []
    for part in rows.partition_by(["model", "group", *CONDITION], maintain_order=True):
        q = benjamini_hochberg(normal_p(part["dloss"].to_numpy(), part["dloss_hi"].to_numpy()))
        parts.append(part.with_columns(q=pl.when(pl.col("q").is_not_null()).then(pl.Series(q))))
    return pl.concat(parts)


def check_one(table: pl.DataFrame, *columns: str) -> None:
    """Raises InputError, with what to do, where a table holds several models or fills that would be drawn as one."""
    advice = {"model": "Name one with --model.", "fill": "Name one with --fill.", "target": "Keep one."}
    for column in columns:
        held = table[column].unique().sort().to_list()
        if len(held) > 1:
            raise InputError(f"the table holds several {column}s ({', '.join(held)}). {advice[column]}")


def ceiling(a: pl.Series, b: pl.Series) -> np.ndarray:
    """The correlation that two reliabilities allow: the root of their product, 0 where either is below 0."""
    return np.sqrt(np.clip(a.to_numpy(), 0, None) * np.clip(b.to_numpy(), 0, None))


def first_condition(table: pl.DataFrame) -> pl.DataFrame:
    """The rows under the first condition of a table, which is clean where it was measured; of all models."""
    first = table.select(CONDITION).row(0)
    return table.filter(
        pl.all_horizontal(pl.col(name).eq_missing(pl.lit(value)) for name, value in zip(CONDITION, first, strict=True))
    )


def grid(rows: pl.DataFrame, column: str) -> np.ndarray:
    """[L, H] of `column` by layer and head, NaN where there is no head."""
    depth, width = int(rows["layer"].max()) + 1, int(rows["head"].max()) + 1  # type: ignore[arg-type]
    values = np.full((depth, width), np.nan)
    values[rows["layer"].to_numpy(), rows["head"].to_numpy()] = rows[column].to_numpy()
    return values


def _one_name(rows: pl.DataFrame) -> str:
    corruption, severity = rows["corruption"][0], rows["severity"][0]
    return f"{corruption} {severity}" if corruption else str(rows["shift"][0])
