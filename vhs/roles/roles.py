"""From a heads table and folds to the roles table: what each head is, by declared rules, or nothing.

Error rates are controlled over heads: q by Benjamini-Hochberg over all heads of a model and all that one rule may be of
(features, regions, categories).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import contrast, role_rules, routing
from vhs.measures.intervals import benjamini_hochberg
from vhs.measures.role_rules import FREEDOM, RULES, Rule
from vhs.roles import recipes, robustness
from vhs.summaries.comparison import CONDITION
from vhs.summaries.fold_tallies import fold_counts
from vhs.summaries.tallied import Row, number

LEVEL = 0.05
SCALES = {True: "accuracy", False: "relative_error"}


def roles(heads: pl.DataFrame, folds: pl.DataFrame, tolerance: float) -> pl.DataFrame:
    """The roles table: by model a row a head and role it surely has; `none` for heads without one.

    heads: measured on clean images; folds: of an ablation, with `mean-flat`, `mean-map` and `donor-map` for unused and
    static heads, and shifts for carriers. Raises MismatchError where the tables share no model.
    """
    rows: list[Row] = []
    for (model_id,), own in heads.group_by("model_id", maintain_order=True):
        removed = folds.filter(
            (pl.col("model_id") == model_id) & (pl.col("unit") == "head") & (pl.col("group") == "all")
        )
        if len(removed):
            rows += _of_model(own, removed, tolerance)
    if not rows:
        raise MismatchError("--summary roles: the tables share no model. Measure one model with specialize and ablate.")
    return frame(schemas.ROLES, rows)


def _of_model(heads: pl.DataFrame, folds: pl.DataFrame, tolerance: float) -> list[Row]:
    clean = heads.filter((pl.col("shift") == "clean") & (pl.col("weighting") == "attention"))
    grid = folds.select("module", "layer", "head").unique(["layer", "head"]).sort("layer", "head")
    recipes.check_one_set(heads)
    recipes.check_one_set(folds)
    clean = clean.unique(["layer", "head", "metric", "of", "query"], keep="first", maintain_order=True)
    folds = folds.filter(~pl.col("shift").is_in(robustness.UNSHIFTED)).filter(pl.col("model") == folds["model"][0])
    keys = {name: heads[name][0] for name in ("model", "model_id", "step", "seed", "data")}
    found = [row for rule in RULES for row in _by_rule(clean, rule)]
    for part in folds.partition_by("target", maintain_order=True):
        found = [*_routed(part, tolerance), *found, *_carriers(part, tolerance)]
    held = [row for row in found if row["q"] < LEVEL]
    rows = []
    for module, layer, head in grid.rows():
        place = {"module": module, "layer": layer, "head": head}
        own = [row for row in held if (row["layer"], row["head"]) == (layer, head)]
        rows += [keys | row | place for row in own] or [
            keys | place | {"role": "none", "words": "nothing that a rule names"}
        ]
    return rows


def _by_rule(clean: pl.DataFrame, rule: Rule) -> Iterator[Row]:
    """Every head and thing that a rule may be of, with p and q."""
    rows = clean.filter((pl.col("metric") == rule.metric) & pl.col("lo").is_not_null() & (pl.col("query") != "class"))
    rows = rows if len(rows) else clean.filter((pl.col("metric") == rule.metric) & pl.col("lo").is_not_null())
    if rule.metric == "follows":
        rows = rows.filter(pl.col("of") != "centre")  # a place, which is no content
    if not len(rows):
        return
    value, lo, hi, null_hi = (rows[name].cast(pl.Float64).to_numpy() for name in ("value", "lo", "hi", "null_hi"))
    p = role_rules.p_values(rule, value, lo, hi, null_hi)
    offsets = dict(_offsets(clean))
    for row, own_p, q in zip(rows.iter_rows(named=True), p.tolist(), benjamini_hochberg(p).tolist(), strict=True):
        offset = offsets.get((row["layer"], row["head"]), float("nan"))
        words = rule.words.format(of=row["of"], value=row["value"], offset=offset)
        yield {
            "layer": row["layer"], "head": row["head"], "role": rule.role, "of": row["of"], "metric": rule.metric,
            "value": row["value"], "lo": row["lo"], "hi": row["hi"], "threshold": rule.threshold, "p": own_p, "q": q,
            "n": row["n"], "words": words,
        }  # fmt: skip


def _offsets(clean: pl.DataFrame) -> Iterator[tuple[tuple[int, int], float]]:
    rows = clean.filter(pl.col("metric") == "offset")
    return (((layer, head), value) for layer, head, value in rows.select("layer", "head", "value").iter_rows())


def _routed(folds: pl.DataFrame, tolerance: float) -> Iterator[Row]:
    """Heads that are unused or static, where the fills that tell it were measured."""
    held = folds["fill"].unique().to_list()
    if not set(routing.FILLS) <= set(held):
        return
    conditions = folds.filter(pl.col("fill").is_in(routing.FILLS)).partition_by("data", *CONDITION, maintain_order=True)
    tallies = {
        fill: [fold_counts(part.filter(pl.col("fill") == fill)) for part in conditions] for fill in routing.FILLS
    }
    found = routing.classify(tallies, tolerance)
    scale = SCALES["n_lost" in folds.columns]
    total = routing.parts(tallies, 0, scale)["total"]
    target = None if folds["target"][0] == "class" else folds["target"][0]
    words = {
        "unused": f"can be removed at less than {tolerance:.1%} in each of {len(conditions)} conditions",
        "static": f"can be given a fixed map at less than {tolerance:.1%} in each of {len(conditions)} conditions",
    }
    grid = folds.select("layer", "head").unique().sort("layer", "head").rows()
    for index, (layer, head) in enumerate(grid):
        for role, said in words.items():
            value, lo, hi = (float(part[index]) for part in total)
            yield {
                "layer": layer, "head": head, "role": role, "of": target, "metric": f"total effect, {scale}",
                "value": value, "lo": lo, "hi": hi, "threshold": tolerance, "p": None,
                "q": float(found.q[role][index]), "n": int(tallies[routing.TOTAL][0].total("n")[index]), "words": said,
            }  # fmt: skip


def _carriers(folds: pl.DataFrame, tolerance: float) -> list[Row]:
    """Heads whose removal costs more than the tolerance on average over a category of shifts (or a shard set), and more
    than on clean images."""
    fill = next((name for name in ("zero", "mean", routing.TOTAL) if name in folds["fill"]), folds["fill"][0])
    own = folds.filter(pl.col("fill") == fill)
    clean = own.filter(pl.col("shift") == "clean")
    shifted = own.filter(pl.col("shift") != "clean").with_columns(node=pl.coalesce("category", "shift"))
    grid = own.select("layer", "head").unique().sort("layer", "head").rows()
    rows: list[Row] = []
    for (name,), part in shifted.group_by("node", maintain_order=True):
        same = [fold_counts(one) for one in part.partition_by("data", *CONDITION, maintain_order=True)
                if len(clean) and one["data"][0] == clean["data"][0]]  # fmt: skip
        if same:
            target = "" if folds["target"][0] == "class" else f" ({folds['target'][0]})"
            rows += _carried(f"{name}{target}", fold_counts(clean), same, grid, tolerance, "n_lost" in folds.columns)
    for row, q in zip(rows, benjamini_hochberg([row["p"] for row in rows]).tolist(), strict=True):
        row["q"] = q
    return rows


def _carried(
    name: str,
    clean: Counts,
    shifted: Sequence[Counts],
    grid: Sequence[tuple[int, int]],
    tolerance: float,
    answers: bool,
) -> Iterator[Row]:
    from scipy.special import stdtr, stdtrit

    scale = SCALES[answers]
    found = contrast.averages(clean, shifted, scale)
    width = stdtrit(FREEDOM, 0.975)
    tests = []
    for value, lo, hi, least in (
        (found["value"], found["lo"], found["hi"], tolerance), (found["diff"], found["diff_lo"], found["diff_hi"], 0.0)
    ):  # fmt: skip
        tests.append(stdtr(FREEDOM, -(value - least) / np.maximum((hi - lo) / 2 / width, 1e-12)))
    p = np.maximum(*tests)
    points = "points of accuracy" if answers else "% of squared error"
    for index, (layer, head) in enumerate(grid):
        value, diff = found["value"][index], found["diff"][index]
        yield {
            "layer": layer, "head": head, "role": "carrier", "of": name, "metric": f"mean effect, {scale}",
            "value": float(value), "lo": number(found["lo"][index]), "hi": number(found["hi"][index]),
            "threshold": tolerance, "p": float(p[index]), "n": int(clean.total("n")[index]),
            "words": f"carries the model through {name} ({value * 100:+.1f} {points}, {diff * 100:+.1f} beyond clean)",
        }  # fmt: skip
