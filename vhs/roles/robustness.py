"""From shift tables of many models to the effective table: robustness beyond what clean accuracy gives.

Taori et al. 2020 (arXiv:2007.00644): accuracy under shift against clean accuracy, both on the probit scale, fitted over
reference models; a model's effective robustness is how far it lies above that line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from vhs.errors import MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.roles import baselines, recipes
from vhs.seeds import hash64
from vhs.summaries.comparison import CONDITION
from vhs.summaries.tallied import Row, number

FEWEST = 20
"""Reference models, the model's own run left out."""
DRAWS = 500
MEAN = "mean"
UNSHIFTED = ("clean_c", "clean_own")
"""Other clean conditions: no shifts."""
KEYS = ["model", "model_id", "run", "recipe", "step", "seed"]


def accuracies(shift: pl.DataFrame) -> pl.DataFrame:
    """A row a model and condition: clean and shifted accuracy, as shares with half an answer added to each side; the
    condition `mean` is the mean over the shifted conditions that all models have.

    Equal weights count once, under the name of a run's end before that of its snapshot. Raises MismatchError where a
    model has clean images of two data sets, or no condition is shared.
    """
    rows = shift.filter((pl.col("group") == "all") & (pl.col("label_set") == "all") & ~pl.col("shift").is_in(UNSHIFTED))
    named = recipes.named(rows).with_columns(accuracy=(pl.col("n_correct") + 0.5) / (pl.col("n") + 1))
    named = named.unique(["model_id", "data", *CONDITION], keep="first", maintain_order=True)
    recipes.check_one_set(named)
    clean = named.filter(pl.col("shift") == "clean").select("model_id", clean="accuracy", n_clean="n")
    shifted = named.filter(pl.col("shift") != "clean")
    columns = [*KEYS, "data", *CONDITION, pl.col("accuracy").alias("shifted"), "n"]
    single = shifted.select(columns)
    models = single["model_id"].n_unique()
    shared = single.filter(pl.col("model_id").n_unique().over("data", *CONDITION) == models)
    if models and not len(shared):
        raise MismatchError("--summary: no shifted condition was measured of all models. Measure them in one run.")
    mean = shared.group_by(KEYS, maintain_order=True).agg(
        pl.col("shifted").mean(), pl.col("n").min(), data=pl.col("data").first(), shift=pl.lit(MEAN),
        corruption=pl.lit(None, pl.String), severity=pl.lit(0, pl.Int64),
    )  # fmt: skip
    both = pl.concat([mean.select(single.columns), single])
    return both.join(clean, on="model_id", how="inner", maintain_order="left", validate="m:1")


def effective(shift: pl.DataFrame, *, seed: int = 0, known: pl.DataFrame | None = None) -> pl.DataFrame:
    """The effective table: every model under every shifted condition, and under their mean.

    known: published models (baselines.read), which the line goes through in place of the table's own; then the
    conditions are those that they have. `effective` is empty where fewer than FEWEST models of other runs are there, or
    where the model's clean accuracy is beyond theirs. Raises MismatchError for fewer than two models without published
    ones, or without shifted conditions.
    """
    table = accuracies(shift)
    if known is not None:
        table = table.filter(pl.col("shift") != MEAN)
        table = baselines.with_families(table, known, [*KEYS, "clean", "n_clean"])
        table = baselines.of_conditions(table, known)
    elif table["model_id"].n_unique() < 2:
        raise MismatchError(
            "--summary effective: takes shift tables of many models, clean and shifted; this is one. --baselines takes "
            "published ones for them."
        )
    parts = table.group_by("data", "shift", "corruption", "severity", maintain_order=True)
    return frame(schemas.EFFECTIVE, [row for _, part in parts for row in _of_condition(part, seed, known)])


@dataclass(frozen=True)
class References:
    """Models that a line may go through. units: what the bootstrap draws, seeds or models; others(row): those that are
    not the row's own."""

    clean: np.ndarray
    shifted: np.ndarray
    units: np.ndarray
    others: Callable[[Row], np.ndarray]


def _references(part: pl.DataFrame, known: pl.DataFrame | None) -> References:
    """Of a condition's rows: themselves by run and seed, or the published models of the condition."""
    from scipy.special import ndtri

    if known is None:
        runs, units = part["run"].to_numpy(), part["seed"].fill_null(-1).to_numpy()
        others = lambda row: runs != row["run"]  # noqa: E731
    else:
        part = known.join(part.select(CONDITION).head(1), on=CONDITION, how="semi", nulls_equal=True)
        names, units = part["model"].to_list(), np.arange(len(part))
        others = lambda row: np.array([not baselines.is_same(name, row["run"]) for name in names])  # noqa: E731
    clean, shifted = (ndtri(part[name].to_numpy()) for name in ("clean", "shifted"))
    return References(clean, shifted, units, others)


def _of_condition(part: pl.DataFrame, seed: int, known: pl.DataFrame | None) -> Iterator[Row]:
    from scipy.special import ndtr, ndtri

    references = _references(part, known)
    for row in part.iter_rows(named=True):
        others, own = references.others(row), ndtri(row["clean"])
        made = {name: row[name] for name in schemas.EFFECTIVE.names if name in row}
        made |= {"n_models": int(others.sum()), "expected": None, "effective": None}
        x, y, units = (part[others] for part in (references.clean, references.shifted, references.units))
        if others.sum() >= FEWEST and x.min() <= own <= x.max() and np.ptp(x) > 0:
            expected = float(ndtr(_line(x, y, own)))
            rng = np.random.default_rng(hash64(seed, "effective", row["model_id"]))
            draws = [_measured_again(row, *_drawn(x, y, units, rng), rng) for _ in range(DRAWS)]
            several = len(np.unique(units)) > 2
            lo, hi = np.quantile(draws, [0.025, 0.975]) if several else (np.nan, np.nan)
            made |= {
                "expected": expected, "effective": row["shifted"] - expected, "effective_lo": number(lo),
                "effective_hi": number(hi),
            }  # fmt: skip
        yield made


def _measured_again(row: Row, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> float:
    """Effective robustness with as many other images, by a line of other models.

    Images are drawn for each accuracy alone. Where a condition's are the clean ones, answers go together, and the
    interval is rather wide than narrow.
    """
    from scipy.special import ndtr, ndtri

    clean, shifted = (
        (rng.binomial(n, row[name]) + 0.5) / (n + 1) for name, n in (("clean", row["n_clean"]), ("shifted", row["n"]))
    )
    return float(shifted - ndtr(_line(x, y, ndtri(clean))))


def _drawn(
    x: np.ndarray, y: np.ndarray, seeds: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The models of seeds drawn with replacement."""
    known = np.unique(seeds)
    places = np.concatenate([np.flatnonzero(seeds == one) for one in rng.choice(known, len(known))])
    return x[places], y[places]


def _line(x: np.ndarray, y: np.ndarray, at: float) -> float:
    """The least-squares line's value."""
    centred = x - x.mean()
    spread = centred @ centred
    return float(y.mean() + (centred @ y / spread if spread > 0 else 0.0) * (at - x.mean()))
