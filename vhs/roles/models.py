"""From heads and shift tables of many models to the models table: do heads specialize, does that predict robustness,
does the number of heads matter?

Intervals are over training seeds: t over seeds of one recipe, Welch's between recipes, a bootstrap of runs for
correlations over checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import polars as pl

from vhs.errors import MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import replicates
from vhs.measures.intervals import benjamini_hochberg
from vhs.roles import recipes, robustness
from vhs.roles.importance import LAID_OUT
from vhs.seeds import hash64
from vhs.summaries.tallied import Row, number

PRIMARY = "jsd_layer"
"""The measure of specialization that is named beforehand: how far a head's map lies from those of its layer, nats."""
DRAWS, PERMUTATIONS = 500, 2000
LAST = "last"
FEWEST = 8
"""Checkpoints for a correlation over them; under 40 it says little."""
WHAT = ["what", "of", "query", "statistic"]


def models(heads: pl.DataFrame, shift: pl.DataFrame, *, seed: int = 0) -> pl.DataFrame:
    """The models table. Raises MismatchError where the tables share fewer than two models."""
    table = _values(heads, shift)
    if table["model_id"].n_unique() < 2:
        raise MismatchError("--summary models: the tables share fewer than two models. Measure the same ones in both.")
    last = table.filter(pl.col("step").fill_null(0) == pl.col("step").fill_null(0).max().over("run"))
    first = table.filter(pl.col("step").fill_null(0) == pl.col("step").fill_null(0).min().over("run"))
    rows = [
        *_recipes(last), *_learned(first, last), *_differences(last), *_predictions(table, None, seed),
        *_predictions(last, LAST, seed),
    ]  # fmt: skip
    return frame(schemas.MODELS, _with_q(rows))


def _values(heads: pl.DataFrame, shift: pl.DataFrame) -> pl.DataFrame:
    """A row a checkpoint and value: mean and spread over heads of every measure on clean images, and accuracies."""
    accuracy = robustness.accuracies(shift).filter(pl.col("shift") == robustness.MEAN)
    keys = ["model_id", "run", "recipe", "step", "seed"]
    recipes.check_one_set(heads)
    clean = (
        heads.filter(
            (pl.col("shift") == "clean") & (pl.col("weighting") == "attention") & ~pl.col("metric").is_in(LAID_OUT)
        )
        .rename({"metric": "what"})
        .unique(["model_id", "layer", "head", "what", "of", "query"], maintain_order=True)
    )
    over_heads = clean.group_by("model_id", "what", "of", "query", maintain_order=True)
    measured = (
        pl.concat(
            [
                over_heads.agg(value=pl.col("value").mean(), statistic=pl.lit("mean")),
                over_heads.agg(value=pl.col("value").std(), statistic=pl.lit("spread")),
            ]
        )
        .drop_nulls("value")
        .join(accuracy.select(*keys, "clean", "shifted"), on="model_id", how="inner")
    )
    order = [*keys, *WHAT, "value", "clean", "shifted"]
    told = [
        accuracy.filter(pl.col("model_id").is_in(measured["model_id"].unique().to_list())).select(
            *keys, what=pl.lit(name), of=pl.lit(None, pl.String), query=pl.lit("none"), statistic=pl.lit("accuracy"),
            value=pl.col(name), clean="clean", shifted="shifted",
        ) for name in ("clean", "shifted")
    ]  # fmt: skip
    return pl.concat([part.select(order) for part in (*told, measured)])


def _recipes(last: pl.DataFrame) -> Iterator[Row]:
    """The mean over seeds of every value."""
    for names, part in last.group_by("recipe", *WHAT, maintain_order=True):
        yield _row("recipe", names[0], None, names[1:], part["value"].to_numpy(), None)


def _learned(first: pl.DataFrame, last: pl.DataFrame) -> Iterator[Row]:
    """What training changed: the last checkpoint of each run less its first, over all recipes and of each."""
    both = last.join(first, on=["run", *WHAT], how="inner", nulls_equal=True, suffix="_first", maintain_order="left")
    both = both.filter((pl.col("step") != pl.col("step_first")) & (pl.col("statistic") != "accuracy"))
    changed = both.with_columns(value=pl.col("value") - pl.col("value_first"))
    for names, part in changed.group_by(*WHAT, maintain_order=True):
        yield _row("learned", "all", "first", names, part["value"].to_numpy(), None)
    for names, part in changed.group_by("recipe", *WHAT, maintain_order=True):
        yield _row("learned", names[0], "first", names[1:], part["value"].to_numpy(), None)


def _differences(last: pl.DataFrame) -> Iterator[Row]:
    """Every two recipes, by Welch's t."""
    known = last["recipe"].unique(maintain_order=True).to_list()
    for names, part in last.group_by(*WHAT, maintain_order=True):
        values = {recipe: part.filter(pl.col("recipe") == recipe)["value"].to_numpy() for recipe in known}
        for a, b in combinations(known, 2):
            if min(len(values[a]), len(values[b])) > 1:
                yield _row("difference", b, a, names, values[b], values[a])


def _row(
    question: str, recipe: str, against: str | None, names: tuple, own: np.ndarray, other: np.ndarray | None
) -> Row:
    """A mean over seeds, or a difference of two; lo, hi and p empty for one seed."""
    found = replicates.mean(own) if other is None else replicates.welch([own, other], [1.0, -1.0])
    return dict(zip(WHAT, names, strict=True)) | {
        "question": question, "recipe": recipe, "against": against, "value": found.value, "lo": number(found.lo),
        "hi": number(found.hi), "p": None if question == "recipe" else number(found.p), "over": "seeds",
        "n_models": len(own) + (0 if other is None else len(other)),
    }  # fmt: skip


def _predictions(table: pl.DataFrame, among: str | None, seed: int) -> Iterator[Row]:
    """Over all checkpoints, or among the last of each run: each measure's partial correlation with shifted accuracy,
    clean accuracy held fixed."""
    from scipy.special import ndtri

    for names, part in (
        table.filter(pl.col("statistic") != "accuracy")
        .sort("run", "step", maintain_order=True)
        .group_by(*WHAT, maintain_order=True)
    ):
        if len(part) < FEWEST or part["value"].n_unique() < 3:
            continue
        x, clean, shifted = part["value"].to_numpy(), ndtri(part["clean"].to_numpy()), ndtri(part["shifted"].to_numpy())
        runs, kinds = part["run"].to_numpy(), part["recipe"].to_numpy()
        rng = np.random.default_rng(hash64(seed, "predicts", *names))
        r = _partial(x, shifted, clean)
        known = np.unique(runs)
        places = {run: np.flatnonzero(runs == run) for run in known}
        draws = []
        for _ in range(DRAWS if len(known) > 2 else 0):
            drawn = np.concatenate([places[run] for run in rng.choice(known, len(known))])
            draws.append(_partial(x[drawn], shifted[drawn], clean[drawn]))
        lo, hi = np.quantile(draws, [0.025, 0.975]) if draws else (np.nan, np.nan)
        yield dict(zip(WHAT, names, strict=True)) | {
            "question": "predicts", "recipe": "all", "against": among, "value": r, "lo": number(lo), "hi": number(hi),
            "p": _permuted_p(x, shifted, clean, (runs, kinds), rng), "over": "runs", "n_models": len(part),
        }  # fmt: skip


def _partial(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
    """Pearson's correlation of what a parabola in `given` leaves of x and y; 0 where nothing is left."""
    a, b = _rest(x, given), _rest(y, given)
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length > 1e-12 else 0.0


def _rest(values: np.ndarray, given: np.ndarray) -> np.ndarray:
    """What a parabola leaves: over a whole training run shifted accuracy bends against clean accuracy on the
    probit scale too, and a line would leave the bend to whatever grows in training."""
    design = np.stack([np.ones_like(given), given, given**2], 1)
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def _permuted_p(
    x: np.ndarray, y: np.ndarray, given: np.ndarray, of: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> float | None:  # fmt: skip
    """Two-sided: what the parabola leaves of x, whole runs of it permuted within recipes (Freedman and Lane 1983).

    of: run and recipe of each checkpoint, which stand by run and step. The checkpoints of one run are not exchangeable
    with those of another one by one: at a level of .05 that would reject up to a third. None where runs of a recipe
    have unlike numbers of checkpoints.
    """
    from vhs.measures.correlation import shuffle

    runs, kinds = of
    known, first, counts = np.unique(runs, return_index=True, return_counts=True)
    kind = np.unique(kinds[first], return_inverse=True)[1]
    if any(len(set(counts[kind == one])) > 1 for one in np.unique(kind)):
        return None
    places = [np.flatnonzero(runs == run) for run in known]
    a, b = _rest(x, given), _rest(y, given)
    observed, hits = abs(a @ b), 0
    for _ in range(PERMUTATIONS):
        moved = np.empty_like(a)
        for own, other in enumerate(shuffle(np.arange(len(known)), kind, rng)):
            moved[places[own]] = a[places[other]]
        hits += abs(_rest(moved, given) @ b) >= observed - 1e-12
    return float((hits + 1) / (PERMUTATIONS + 1))


def _with_q(rows: list[Row]) -> list[Row]:
    """q within each question, over what is not the measure named beforehand, whose p stands alone."""
    for question in ("learned", "difference", "predicts"):
        own = [row for row in rows if row["question"] == question and row["p"] is not None]
        explored = [row for row in own if (row["what"], row["statistic"]) != (PRIMARY, "mean")]
        for row, q in zip(explored, benjamini_hochberg([row["p"] for row in explored]).tolist(), strict=True):
            row["q"] = q
    return rows
