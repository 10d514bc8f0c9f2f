"""Comparing conditions by their folds tables. Does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from vhs.counts import Counts
from vhs.errors import InputError, MismatchError, UsageError, choices
from vhs.formats import schemas, tables
from vhs.formats.tables import Table, condition_name, frame
from vhs.measures import contrast, correlation
from vhs.measures.correlation import Importances
from vhs.measures.intervals import benjamini_hochberg
from vhs.progress import Progress, silent

RUN_KEYS = ["model", "model_id", "group", "fill", "method", "target"]
CONDITION = ["shift", "corruption", "severity"]
KEYS = [*RUN_KEYS, "label_set", "data", *CONDITION, "unit", "layer", "head", "fold"]


class Pair(NamedTuple):
    """Clean and one shifted condition of one model: run keys, names, tallies [H, F], layers and heads [H].

    condition: shift, category, corruption and severity of the shifted one.
    """

    keys: dict[str, Any]
    condition: dict[str, Any]
    a: str
    b: str
    counts_a: Counts
    counts_b: Counts
    layers: np.ndarray
    heads: np.ndarray


def read_folds(
    paths: Sequence[str | pl.DataFrame], read: Callable[[Any], Table] = tables.read
) -> pl.DataFrame:  # fmt: skip
    """The folds of all `paths`: folds tables, or ablation tables with `.folds.parquet` beside them.

    Equal duplicate rows are dropped; rows that share keys and differ, folds that were written beside another table, and
    folds of classes beside those of targets, are a MismatchError.
    """
    parts = [_folds_of(path, read) for path in paths]
    if len({tuple(part.columns) for part in parts}) > 1:
        raise MismatchError("the tables are of classes and of targets. Compare them apart.")
    joined = pl.concat(parts).unique(maintain_order=True)
    twice = joined.filter(pl.struct(KEYS).is_duplicated())
    if len(twice):
        row = twice.row(0, named=True)
        name = condition_name(row["shift"], row["corruption"], row["severity"])
        raise MismatchError(f"{row['model']}: {name} stands in the tables twice with unlike counts. Name one of them.")
    return joined


def correlations(
    folds: pl.DataFrame, scales: Sequence[str], *, seed: int = 0,
    progress: Progress = silent,
) -> pl.DataFrame:  # fmt: skip
    """The compare table: clean against each shifted condition, overall and within layers."""
    rows = []
    scales = scales_of(folds, scales)
    found = list(pairs(folds, disjoint=True))
    clean: dict[Any, Importances] = {}  # of each run once
    for number, pair in enumerate(found):
        progress("correlating", number, len(found))
        images = min(pair.counts_a["n"][0].sum(), pair.counts_b["n"][0].sum())
        for scale in scales:
            for layers in (None, pair.layers):
                key = (*pair.keys.values(), scale, layers is None, pair.counts_a.values.tobytes())
                if key not in clean:
                    clean[key] = Importances([pair.counts_a], scale, layers=layers, seed=seed)
                shifted = Importances([pair.counts_b], scale, layers=layers, seed=seed)
                result = correlation.correlate(clean[key], shifted)
                rows.append(pair.keys | vars(result) | {
                    "a": pair.a, "b": pair.b, "metric": scale, "within_layer": layers is not None, "over": "images",
                    "n_heads": len(pair.heads), "n_images": int(images),
                })  # fmt: skip
    return frame(schemas.COMPARE, rows)


def contrasts(folds: pl.DataFrame, scales: Sequence[str]) -> pl.DataFrame:
    """The contrast table: each head, clean against each shifted condition, paired; q over a whole scale."""
    parts = []
    for scale in scales_of(folds, scales):
        rows = [row for pair in pairs(folds) for row in _contrast_rows(pair, scale)]
        q = benjamini_hochberg([row["p"] for row in rows])
        parts.append(frame(schemas.CONTRAST, [row | {"q": value} for row, value in zip(rows, q.tolist(), strict=True)]))
    return pl.concat(parts)


def _contrast_rows(pair: Pair, scale: str) -> Iterator[dict[str, Any]]:
    result = contrast.differences(pair.counts_a, pair.counts_b, scale)
    for index in range(len(pair.heads)):
        numbers = {name: float(values[index]) for name, values in result.items()}
        yield pair.keys | numbers | {
            "layer": int(pair.layers[index]), "head": int(pair.heads[index]), "a": pair.a, "b": pair.b,
            "scale": scale, "n": int(pair.counts_a["n"][0].sum()),
        }  # fmt: skip


def scales_of(folds: pl.DataFrame, scales: Sequence[str]) -> tuple[str, ...]:
    """The scales asked for, or the usual ones, of these folds. Raises UsageError for a scale that they have not."""
    among = contrast.OF_CLASSES if "n_lost" in folds.columns else contrast.OF_TARGETS
    odd = next((name for name in scales if name not in among), None)
    if odd is not None:
        raise UsageError(f"--scale {odd}: these tables have {choices(among)}.")
    return tuple(scales) or tuple(name for name in contrast.USUAL if name in among)


def unpaired_shifts(folds: pl.DataFrame) -> list[str]:
    """Shifted conditions measured on other samples than clean: there are correlations with them, but no contrasts."""
    data = folds.filter(pl.col("shift") == "clean")["data"].unique()
    other = folds.filter((pl.col("shift") != "clean") & ~pl.col("data").is_in(data.to_list()))
    return other["shift"].unique(maintain_order=True).to_list()


def pairs(folds: pl.DataFrame, *, disjoint: bool = False) -> Iterator[Pair]:
    """Clean with each shifted condition on its samples, by model; with `disjoint` also those on other samples."""
    found = False
    heads = folds.filter(pl.col("unit") == "head")
    for keys, of_run in heads.group_by(RUN_KEYS, maintain_order=True):
        conditions = of_run.partition_by("data", *CONDITION, maintain_order=True)
        clean = {part["data"][0]: part for part in conditions if part["shift"][0] == "clean"}
        for part in conditions:
            base = clean.get(part["data"][0], next(iter(clean.values()), None) if disjoint else None)
            if part["shift"][0] != "clean" and base is not None:
                found = True
                yield _pair(dict(zip(RUN_KEYS, keys, strict=True)), base, part)
    if not found:
        raise InputError("no shifted condition on the samples of clean in the tables. Run `vhs ablate` with --shift.")


def _pair(keys: dict[str, Any], clean: pl.DataFrame, part: pl.DataFrame) -> Pair:
    from vhs.summaries.fold_tallies import fold_counts

    a, b = fold_counts(clean), fold_counts(part)
    name = condition_name(*part.select(CONDITION).row(0))
    paired = clean["data"][0] == part["data"][0]
    if a.values.shape != b.values.shape or (paired and not np.array_equal(a["n"], b["n"])):
        raise MismatchError(f"{name}: was measured on other samples or heads than clean. Run both in one go.")
    grid = part.select("layer", "head").unique().sort("layer", "head")
    condition = part.select("shift", "category", "corruption", "severity").row(0, named=True)
    return Pair(keys, condition, "clean", name, a, b, grid["layer"].to_numpy(), grid["head"].to_numpy())


def _folds_of(path: str | pl.DataFrame, read: Callable[[Any], Table]) -> pl.DataFrame:
    schema, table, _ = read(path)
    if schema in (schemas.FOLDS, schemas.FOLDS_REGRESSION):
        return table
    if not isinstance(path, str):
        raise InputError(f"the table is of kind {schema.name}; folds were expected.")
    if schema not in (schemas.ABLATE, schemas.ABLATE_REGRESSION):
        raise InputError(f"{path}: is of kind {schema.name}; an ablation or folds table was expected.")
    beside = Path(path).with_suffix(".folds.parquet")
    if path == "-" or not beside.exists():
        hint = "`vhs ablate … --folds -` sends them down the pipe" if path == "-" else f"{beside} is not there"
        raise InputError(f"{'stdin' if path == '-' else path}: has no folds: {hint}.")
    tables.check_beside(beside, Path(path))
    return read(str(beside)).rows
