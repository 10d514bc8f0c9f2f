"""From folds tables to roll-ups of heads over severities, categories and families."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from vhs.counts import Counts
from vhs.errors import InputError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures import contrast
from vhs.measures.intervals import benjamini_hochberg
from vhs.shifts.names import FAMILY
from vhs.summaries.comparison import CONDITION, RUN_KEYS, Pair, pairs, scales_of
from vhs.summaries.fold_tallies import condition_counts


def rollups(folds: pl.DataFrame, scales: Sequence[str]) -> pl.DataFrame:
    """The rollup table: each head over the severities of a corruption, over a category, over a family."""
    parts, found = [], list(_members(folds))
    if not found:
        raise InputError("--summary rollup: no two conditions of one corruption, category or family to average.")
    for scale in scales_of(folds, scales):
        rows = [row for name, members in found for row in _rollup_rows(name, members, scale)]
        q = benjamini_hochberg([row["p"] for row in rows])
        parts.append(frame(schemas.ROLLUP, [row | {"q": value} for row, value in zip(rows, q.tolist(), strict=True)]))
    return pl.concat(parts)


def _members(folds: pl.DataFrame) -> Iterator[tuple[str, list[Pair]]]:
    """(what is averaged, its pairs with clean), by model: corruptions, categories, families of two or more."""
    by_model: dict[str, list[Pair]] = {}
    for pair in pairs(folds):
        by_model.setdefault("/".join(pair.keys[name] for name in ("model_id", "fill", "target")), []).append(pair)
    for found in by_model.values():
        for key in ("corruption", "category", "shift"):
            groups: dict[tuple[str, str], list[Pair]] = {}
            for pair in found:
                if pair.condition[key] is not None:
                    groups.setdefault((pair.condition["shift"], pair.condition[key]), []).append(pair)
            for (shift, name), members in groups.items():
                if len(members) > 1:
                    yield _told_apart(shift, name, {other for other, same in groups if same == name}), members


def _told_apart(shift: str, name: str, families: set[str]) -> str:
    """A corruption or category that several families have by the family, but for ImageNet-C's own."""
    return name if len(families) == 1 or shift == FAMILY else f"{name} ({shift})"


def over_shifts(folds: pl.DataFrame, scale: str) -> pl.DataFrame:
    """Each head averaged over all shifted conditions on clean's samples, clustered by sample.

    Columns model_id, fill, target, layer, head, value, lo, hi, p (that it is 0), q (over the heads of the model). Empty
    where there are no such conditions.
    """
    heads = folds.filter(pl.col("unit") == "head")
    made = [_over_all(part, scale) for _, part in heads.group_by(RUN_KEYS, maintain_order=True)]
    parts = [part for part in made if part is not None]
    return pl.concat(parts) if parts else pl.DataFrame()


def _over_all(rows: pl.DataFrame, scale: str) -> pl.DataFrame | None:
    """The same of one run; None where clean or shifts are missing."""
    clean = rows.filter(pl.col("shift") == "clean")
    rows = rows.filter(pl.col("data").is_in(clean["data"].unique().to_list()))
    if not len(clean) or not (rows["shift"] != "clean").any():
        return None
    conditions, counts = condition_counts(rows, CONDITION)
    parts = [Counts(values, counts.fields) for values in counts.values]
    base = parts[next(index for index, key in enumerate(conditions) if key[0] == "clean")]
    shifted = [part for part, key in zip(parts, conditions, strict=True) if key[0] != "clean"]
    found = contrast.averages(base, shifted, scale)
    grid = rows.select("layer", "head").unique().sort("layer", "head")
    numbers = {"value": found["value"], "lo": found["lo"], "hi": found["hi"], "p": found["value_p"]}
    numbers["q"] = benjamini_hochberg(found["value_p"])
    keys = {name: pl.lit(rows[name][0]) for name in ("model_id", "fill", "target")}
    return grid.with_columns(**{name: pl.Series(values) for name, values in numbers.items()}, **keys)


def _rollup_rows(name: str, members: list[Pair], scale: str) -> Iterator[dict[str, Any]]:
    first = members[0]
    result = contrast.averages(first.counts_a, [pair.counts_b for pair in members], scale)
    n = int(np.asarray(first.counts_a["n"])[0].sum())
    for index in range(len(first.heads)):
        numbers = {key: float(values[index]) for key, values in result.items()}
        yield first.keys | numbers | {
            "over": name, "n_conditions": len(members), "layer": int(first.layers[index]),
            "head": int(first.heads[index]), "scale": scale, "n": n,
        }  # fmt: skip
