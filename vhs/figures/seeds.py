"""Several models as one line: those whose names a pattern groups, with their spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from vhs.arms import naming
from vhs.errors import UsageError
from vhs.figures import paper
from vhs.figures.style import short

INTERVAL = "band: 95 % interval"


class Line(NamedTuple):
    """A model, or a group of models. rows: the keys, `value`, `lo` and `hi` in the unit drawn; band: what these are."""

    name: str
    rows: pl.DataFrame
    band: str
    models: int = 1


def lines(table: pl.DataFrame, keys: Sequence[str], column: str, scale: float = 1.0) -> list[Line]:
    """One line a model; where --group-by was asked for one a group: the mean over its models with a 95 % interval over
    them (t; of at least two)."""
    pattern = paper.current().group_by
    if pattern is None:
        return [
            Line(short(str(name)), _own(rows, keys, column, scale), INTERVAL)
            for (name,), rows in table.group_by("model", maintain_order=True)
        ]
    found = []
    for name, rows in groups(table, pattern):
        count = rows["model"].n_unique()
        told = f"{name}: mean of {count} models" if count > 1 else name
        found.append(Line(told, _mean(rows, keys, column, scale), "band: 95 % interval over models", count))
    return found


def groups(table: pl.DataFrame, pattern: str) -> list[tuple[str, pl.DataFrame]]:
    """(name, rows) of the groups of models that a pattern makes: what its first bracket matches, or all it matches.

    Raises UsageError for a pattern that is none, or that matches no model.
    """
    compiled = naming.compiled(pattern)
    paper.current().grouped = True
    names = {}
    for model in table["model"].unique(maintain_order=True):
        match = compiled.search(short(model)) or compiled.search(model)
        names[model] = short(model) if match is None else match[1 if compiled.groups else 0] or short(model)
    if not any(compiled.search(short(model)) or compiled.search(model) for model in names):
        raise UsageError(f"--group-by {pattern}: groups none of the models {', '.join(map(short, names))}.")
    named = table.with_columns(_group=pl.col("model").replace_strict(names))
    return [(str(name), rows.drop("_group")) for (name,), rows in named.group_by("_group", maintain_order=True)]


def _own(rows: pl.DataFrame, keys: Sequence[str], column: str, scale: float) -> pl.DataFrame:
    """A model's rows with its own interval, where the table has one."""
    bounds = [pl.col(f"{column}_{end}") * scale if f"{column}_{end}" in rows.columns else pl.lit(None, pl.Float64)
              for end in ("lo", "hi")]  # fmt: skip
    return rows.select(*keys, (pl.col(column) * scale).alias("value"), bounds[0].alias("lo"), bounds[1].alias("hi"))


def _mean(rows: pl.DataFrame, keys: Sequence[str], column: str, scale: float) -> pl.DataFrame:
    """Over models, with t's interval."""
    from scipy.special import stdtrit

    made = rows.group_by(keys, maintain_order=True).agg(
        (pl.col(column) * scale).mean().alias("value"),
        (pl.col(column) * scale).std().alias("_sd"),
        pl.len().alias("_n"),
    )
    n, sd = made["_n"].to_numpy(), made["_sd"].cast(pl.Float64).to_numpy()
    half = np.where(n > 1, stdtrit(np.maximum(n - 1, 1), 0.975) * sd / np.sqrt(n), np.nan)
    value = made["value"].to_numpy()
    bounds = {"lo": pl.Series(value - half).fill_nan(None), "hi": pl.Series(value + half).fill_nan(None)}
    return made.drop("_sd", "_n").with_columns(**bounds)
