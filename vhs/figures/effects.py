"""What an ablation table says of each head: the numbers that heat maps, scatter and summaries share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from vhs.errors import InputError
from vhs.figures import words
from vhs.measures.intervals import benjamini_hochberg, normal_p

ALPHA = 0.05
"""q below which a head is marked."""
DIFFERS = f"differs from 0, q < {ALPHA:g} over the heads"
"""What a dot on a heat map of effects means."""
CONDITION = ["shift", "corruption", "severity"]
SCALES = {"drop": "accuracy", "dloss": "loss"}
METRICS = {"drop": ("accuracy lost without the head", "points", 100.0), "dloss": ("loss added", "nats", 1.0)}
"""metric -> (words, unit drawn, factor from the table's unit to it)."""


@dataclass(frozen=True)
class Effects:
    """One model under one condition, or averaged over several.

    value_LH, low_LH, high_LH: effect per layer and head, in the unit drawn; NaN where there is no head.
    marked_LH: heads that get a dot, which means `dots`. bounded: whether low_LH and high_LH are an interval; those of a
    mean over conditions are only where folds tell how its conditions go together.
    """

    title: str
    n: int
    conditions: int
    value_LH: np.ndarray
    low_LH: np.ndarray
    high_LH: np.ndarray
    marked_LH: np.ndarray
    accuracy: float
    dots: str
    bounded: bool


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


def over_shifts(heads: pl.DataFrame, metric: str, folds: pl.DataFrame | None = None) -> Effects | None:
    """The effects averaged over all shifted conditions; None when the table has none.

    folds: of the same ablation, for an interval and a test of the mean, clustered by image.
    """
    rows = heads.filter(pl.col("shift") != "clean")
    if not len(rows):
        return None
    mean = _effects(rows, metric, shifted_title(rows))
    known = None if folds is None or mean.conditions == 1 else _jackknifed(folds, rows, metric)
    if known is None:
        return mean
    scale = METRICS[metric][2]
    return replace(
        mean, low_LH=grid(known, "lo") * scale, high_LH=grid(known, "hi") * scale, marked_LH=grid(known, "q") < ALPHA,
        dots=DIFFERS, bounded=True,
    )  # fmt: skip


def _jackknifed(folds: pl.DataFrame, rows: pl.DataFrame, metric: str) -> pl.DataFrame | None:
    """Bounds and q of the mean from the folds of the same heads and conditions; None where they are not these."""
    from vhs.summaries.rollup import over_shifts as averaged

    first = rows.row(0, named=True)
    same = [pl.col(name) == first[name] for name in ("model_id", "fill", "method", "group")]
    found = averaged(folds.filter(pl.col("unit") == "head", *same), SCALES[metric])
    of_rows = rows.group_by("layer", "head").agg(pl.col(metric).mean())
    if not len(found):
        return None
    joined = found.join(of_rows, on=["layer", "head"])
    agree = len(joined) == len(of_rows) and np.allclose(joined["value"], joined[metric], atol=1e-9)
    return found if agree else None


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
    rows = with_q(rows, metric)
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
        accuracy=float(grouped["accuracy"][0]), bounded=count == 1,
        dots=DIFFERS if count == 1 else f"of the mean: q < {ALPHA:g} in half of the conditions or more",
    )  # fmt: skip


def with_q(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
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
    return words.condition(rows["shift"][0], rows["corruption"][0], rows["severity"][0])
