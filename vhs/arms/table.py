"""From readings of models to the arms table: means over seeds, and effects with what so few seeds could have shown."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from vhs.arms import effects, naming
from vhs.arms.effects import Effect
from vhs.errors import MismatchError, UsageError, choices
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import replicates
from vhs.measures.intervals import benjamini_hochberg
from vhs.summaries.tallied import Row, number

KEYS = ["data", "condition", "what", "of", "layer"]
ACROSS = ("layer", "of", "condition")


@dataclass(frozen=True, kw_only=True)
class Study:
    """group_by: what tells arms, None for names that end in a seed; reference: the arm that others are compared with;
    effects: comparisons as typed; what, conditions: the readings wanted, empty for all; choose_by: a table of
    validation by which arms with a * are chosen; across: a column of ACROSS whose values are compared
    within every run, in place of arms; paired: whether runs of one seed share
    their beginning and the order of their images."""

    group_by: str | None = None
    reference: str | None = None
    effects: Sequence[str] = ()
    what: Sequence[str] = ()
    conditions: Sequence[str] = ()
    choose_by: Any = None
    across: str | None = None
    paired: bool = False


def arms(readings: pl.DataFrame, study: Study, validation: pl.DataFrame | None = None) -> pl.DataFrame:
    """The arms table: means of every arm first, then effects, q over all effects together.

    readings: as arms/readings gives them, of any number of tables; validation: those of choose_by.
    Raises UsageError or MismatchError for arms and
    readings that there are not, and for a run that says two things of one.
    """
    by = naming.pattern(study.group_by)
    told = _of_arms(_wanted(_wanted(readings, "what", study.what), "condition", study.conditions), by)
    _check_means(told)
    if study.across is not None:
        told = _across(told, study.across)
    known = told["arm"].unique(maintain_order=True).to_list()
    asked = effects.chosen(
        study.effects, study.reference, known, None if validation is None else _scores(validation, by)
    )
    means, found = [], []
    paired = study.paired or study.across is not None
    parts = told.partition_by(KEYS, as_dict=True, maintain_order=True)
    for names in _layers_ascend(list(parts)):
        keys = dict(zip(KEYS, names, strict=True))
        samples = {arm: _by_seed(own) for (arm,), own in parts[names].group_by("arm", maintain_order=True)}
        means += [keys | _mean(arm, runs) for arm, runs in samples.items()]
        found += [keys | row for row in _effects(asked, samples, paired=paired)]
    silent = next((effect.name for effect in asked if effect.name not in {row["arm"] for row in found}), None)
    if silent is not None and (study.effects or study.reference):
        raise MismatchError(f"--effect {silent}: its arms have no reading in common. Measure the same of both.")
    tested = [row for row in found if row["p"] is not None]
    for row, q in zip(tested, benjamini_hochberg([row["p"] for row in tested]).tolist(), strict=True):
        row["q"] = q
    return frame(schemas.ARMS, [*means, *found])


def _layers_ascend(names: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """What differs by its layer alone: layers ascend in the places that it has, whichever arm told of which first."""
    waiting: dict[tuple[Any, ...], deque[tuple[Any, ...]]] = {}
    for name in sorted(names, key=lambda name: -1 if name[-1] is None else name[-1]):
        waiting.setdefault(name[:-1], deque()).append(name)
    return [waiting[name[:-1]].popleft() for name in names]


def _across(told: pl.DataFrame, column: str) -> pl.DataFrame:
    """The values of a column as arms, `L5`, `fog@..`; beside the arm's own name where there are several."""
    if column not in ACROSS:
        raise UsageError(f"--across {column}: expected {choices(ACROSS)}.")
    kept = told.drop_nulls(column)
    if not len(kept):
        raise UsageError(f"--across {column}: the tables tell nothing by {column}.")
    name = pl.format("L{}", column) if column == "layer" else pl.col(column).str.replace_all(" ", "-", literal=True)
    arm = name if told["arm"].n_unique() == 1 else pl.format("{}/{}", "arm", name)
    return kept.with_columns(arm=arm, **{column: pl.lit(None, kept.schema[column])})


def _scores(validation: pl.DataFrame, by: re.Pattern[str] | None) -> dict[str, float]:
    """Arm -> mean over seeds of accuracy, or R², on the clean images of a validation table."""
    scored = validation.filter(pl.col("what").is_in(["top1", "r2"]) & (pl.col("condition") == "clean"))
    if not len(scored):
        raise MismatchError("--choose-by: expected a table of evalshift, with accuracy or R² on clean images.")
    means = _of_arms(scored, by).group_by("arm", maintain_order=True).agg(pl.col("value").mean())
    return dict(means.iter_rows())


def _wanted(readings: pl.DataFrame, column: str, names: Sequence[str]) -> pl.DataFrame:
    """The rows with these names in a column. Raises UsageError for one that the tables do not have."""
    held = readings[column].drop_nulls().unique(maintain_order=True).to_list()
    missing = next((name for name in names if name not in held), None)
    if missing is not None:
        told = ", ".join(held[:24]) + (f" and {len(held) - 24} more" if len(held) > 24 else "")
        raise UsageError(f"--{column} {missing}: the tables say nothing of that; they have {told}.")
    return readings.filter(pl.col(column).is_in(list(names))) if names else readings


def _check_means(told: pl.DataFrame) -> None:
    """Raises MismatchError where models have means over other conditions, which say nothing of each other."""
    means = told.drop_nulls("members")
    odd = means.filter(pl.col("members").n_unique().over(KEYS) > 1)
    if len(odd):
        key = odd.row(0, named=True)
        same = odd.filter(pl.all_horizontal(pl.col(name).eq_missing(pl.lit(key[name])) for name in KEYS))
        (a, of_a), (b, of_b) = same.unique("members", maintain_order=True).select("model", "members").rows()[:2]
        counts = " and ".join(members.split(" ")[0] for members in (of_a, of_b))
        raise MismatchError(
            f"{a} and {b}: `{key['condition']}` is over unlike conditions ({counts} of them). Measure the same shifts "
            f"of all models, or name the tables apart."
        )


def left_out(readings: pl.DataFrame, table: pl.DataFrame, study: Study) -> list[str]:
    """What is not in an arms table without its rows telling: models that no arm is of, seeds without a partner."""
    by, found = naming.pattern(study.group_by), []
    models = readings["model"].unique(maintain_order=True).to_list()
    unfit = [model for model in models if naming.named(model, by) is None]
    if unfit:
        more = f" and {len(unfit) - 1} more" if len(unfit) > 1 else ""
        found.append(f"{unfit[0]}{more}: --group-by does not fit, so they are left out")
    runs = table.filter(pl.col("question") == "mean")["n_runs"].to_list()
    for arm, count in table.filter(pl.col("how") == "paired").select("arm", "n_runs").rows():
        if count < max(runs):
            found.append(f"{arm}: {count} of {max(runs)} seeds have a partner; the others are left out")
            break
    return found


def _of_arms(readings: pl.DataFrame, by: re.Pattern[str] | None) -> pl.DataFrame:
    """With the columns `arm` and `run`; what an expression does not fit is left out."""
    models = readings["model"].unique(maintain_order=True).to_list()
    known = [(model, found) for model in models if (found := naming.named(model, by)) is not None]
    if not known:
        raise MismatchError(f"--group-by: fits none of the models {', '.join(models[:6])}.")
    told = pl.DataFrame(
        [(model, found.arm, found.seed) for model, found in known], schema=["model", "arm", "run"], orient="row"
    )
    joined = readings.unique(maintain_order=True).join(told, on="model", how="inner", maintain_order="left")
    twice = joined.filter(pl.struct("arm", "run", *KEYS).is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        others = twice.filter((pl.col("arm") == row["arm"]) & (pl.col("run") == row["run"]))["model"].unique().sort()
        raise MismatchError(
            f"{' and '.join(others[:2])}: both are seed {row['run'] or '(none)'} of the arm {row['arm']}, or were "
            f"measured twice with unlike results ({row['what']}). Say with --group-by which part of a name is the arm."
        )
    return joined


def _by_seed(rows: pl.DataFrame) -> dict[str, float]:
    return dict(zip(rows["run"].to_list(), rows["value"].to_list(), strict=True))


def _mean(arm: str, runs: Mapping[str, float]) -> Row:
    return _row("mean", arm, replicates.mean(np.array(list(runs.values()))), "seeds", len(runs)) | {"p": None}


def _effects(asked: Sequence[Effect], samples: Mapping[str, Mapping[str, float]], *, paired: bool) -> Iterator[Row]:
    """What can be had of the effects: arms that this reading lacks leave theirs out."""
    for effect in asked:
        if not set(effect.weights) <= set(samples):
            continue
        runs = [samples[arm] for arm in effect.weights]
        shared = [seed for seed in runs[0] if all(seed in other for other in runs[1:])]
        weights = list(effect.weights.values())
        pairs = [np.array([own[seed] for seed in shared]) for own in runs]
        if paired:
            if not shared:
                raise MismatchError(
                    f"--paired: the arms of {effect.name} share no seed. Name runs alike but for the arm."
                )
            found, how, count = replicates.paired(pairs, weights), "paired", len(shared)
        else:
            found = replicates.welch([np.array(list(own.values())) for own in runs], weights)
            how, count = "welch", sum(map(len, runs))
        alike = replicates.together(*pairs) if len(pairs) == 2 else float("nan")
        yield _row("effect", effect.name, found, how, count) | {"together": number(alike)}


def _row(question: str, arm: str, found: replicates.Estimate, how: str, count: int) -> Row:
    return {
        "question": question, "arm": arm, "value": found.value, "lo": number(found.lo), "hi": number(found.hi),
        "deviation": number(found.deviation), "how": how, "n_runs": count, "p": number(found.p), "q": None,
        "detectable": number(found.detectable) if question == "effect" else None, "together": None,
    }  # fmt: skip
