"""From shift tables to the mce table."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vhs.errors import InputError, MismatchError
from vhs.formats import schemas, tables
from vhs.formats.tables import Table, frame
from vhs.measures import mce
from vhs.measures.mce import AVERAGED, Normaliser
from vhs.shifts.names import CATEGORY, FAMILY, IMAGENET_C, SEVERITIES

Folds = dict[tuple[str, str, int], tuple[np.ndarray, np.ndarray]]
"""(model_id, corruption, severity) -> (n, n_correct), int64 [F] each."""


def summarise(shift: pl.DataFrame, normaliser: Normaliser | None, folds: Folds | None = None) -> pl.DataFrame:
    """The mce table of a shift table: each of the 15 corruptions, the four categories, and all of them, by model.

    folds: the fold tallies of the same run, for intervals. Raises MismatchError naming cells that are missing.
    """
    of_family = shift.filter((pl.col("group") == "all") & (pl.col("label_set") == "all"))
    rows: list[dict[str, Any]] = []
    for _, table in of_family.group_by("model", "model_id", maintain_order=True):
        rows += _rows(table, normaliser, folds)
    return frame(schemas.MCE, rows)


def normaliser(
    source: str | pl.DataFrame | None, shift: pl.DataFrame, *, classes: int | None = None
) -> Normaliser | None:
    """AlexNet for `alexnet`, none for `none`, the errors of a shift table's only model for a path or a frame.

    Without a source: AlexNet where the images are 224 px and, as far as known, the classes 1,000; else none.
    """
    if isinstance(source, pl.DataFrame):
        return _from_shift(tables.of_frame(source), "the table")
    if source == "none":
        return None
    if source is not None and source != "alexnet":
        return _from_table(source)
    fits = set(shift["size"]) == {"224x224"} and classes in (None, 1000)
    return mce.alexnet() if fits or source == "alexnet" else None


def _rows(table: pl.DataFrame, normaliser: Normaliser | None, folds: Folds | None) -> Iterator[dict[str, Any]]:
    model = str(table["model"][0])
    cells, clean_error = _parts(table)
    errors = _errors(cells, f"{model}: ")
    left_out = _left_out(folds, str(table["model_id"][0])) if folds else None
    origins = dict(zip(cells["corruption"], cells["origin"], strict=True))
    keys = {
        "model": model, "model_id": table["model_id"][0], "data": table["data"][0],
        "metric": _metric(normaliser, set(origins.values())), "normalised_by": normaliser.name if normaliser else None,
        "n_severities": len(SEVERITIES), "frost": origins["frost"], "n": int(cells["n"].min()),  # type: ignore[arg-type]
    }  # fmt: skip
    parts = [(name, CATEGORY[name], [index]) for index, name in enumerate(AVERAGED)]
    parts += [("all", category, [AVERAGED.index(n) for n in names]) for category, names in IMAGENET_C.items()]
    for name, category, chosen in [*parts, ("all", None, list(range(len(AVERAGED))))]:
        result = mce.summarise(errors, clean_error, chosen, normaliser, left_out)
        lo, hi = result.bounds or (None, None)
        yield keys | {
            "corruption": name, "category": category, "ce": result.ce, "relative_ce": result.relative_ce,
            "error": result.error, "lo": lo, "hi": hi,
        }  # fmt: skip


def _metric(normaliser: Normaliser | None, origins: set[str]) -> str:
    if normaliser is None:
        return "mean_error"
    if normaliser.name != "alexnet":
        return "mce_normalised"
    return "mce" if origins == {"stored"} else "mce_generated"


def _parts(table: pl.DataFrame) -> tuple[pl.DataFrame, float | None]:
    """The rows of the family in a shift table, and its clean error where it has one."""
    clean = table.filter(pl.col("shift") == "clean")
    cells = table.filter((pl.col("shift") == FAMILY) & pl.col("corruption").is_in(AVERAGED))
    return cells, 1 - clean["n_correct"][0] / clean["n"][0] if len(clean) else None


def _errors(cells: pl.DataFrame, where: str) -> np.ndarray:
    """Errors [C, S]; every cell is needed, once."""
    found: dict[tuple[str, int], float] = {}
    for name, severity, error in cells.select("corruption", "severity", 1 - pl.col("n_correct") / pl.col("n")).rows():
        if (name, severity) in found:
            raise MismatchError(f"{where}{name} at severity {severity} stands in the table twice. Name one table.")
        found[name, severity] = error
    wanted = [(name, severity) for name in AVERAGED for severity in SEVERITIES]
    missing = [f"{name}:{severity}" for name, severity in wanted if (name, severity) not in found]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise MismatchError(
            f"{where}no mean over a part: {', '.join(missing[:3])}{more} not measured. Use --shift imagenet-c."
        )
    return np.array([found[cell] for cell in wanted]).reshape(len(AVERAGED), -1)


def _left_out(folds: Folds, model_id: str) -> np.ndarray:
    """[F, C, S]: the errors with each fold left out."""
    cells = [[folds[model_id, name, severity] for severity in SEVERITIES] for name in AVERAGED]
    n, right = np.moveaxis(np.array(cells), 2, 0)
    rest = n.sum(-1, keepdims=True) - n
    return np.moveaxis(1 - (right.sum(-1, keepdims=True) - right) / np.maximum(rest, 1), -1, 0)


def _from_table(path: str) -> Normaliser:
    """A shift table of one model, or a CSV with corruption, severity and error (a fraction)."""
    text = Path(path).read_bytes() if Path(path).is_file() else b""
    header = text.split(b"\n", 1)[0].decode(errors="replace").strip().split(",")
    if {"corruption", "severity", "error"} <= set(header):
        plain = pl.read_csv(io.BytesIO(text)).select(
            "corruption", pl.col("severity").cast(pl.Int64), n=pl.lit(1.0), n_correct=1 - pl.col("error")
        )
        clean = plain.filter(pl.col("corruption") == "clean")
        cells = plain.filter(pl.col("corruption").is_in(AVERAGED))
        return Normaliser(
            Path(path).stem, _errors(cells, f"{path}: "), 1 - clean["n_correct"][0] if len(clean) else None
        )
    return _from_shift(tables.read(path), path)


def _from_shift(table: Table, path: str) -> Normaliser:
    """The errors of a shift table."""
    if table.schema is not schemas.EVALSHIFT or table.rows["model_id"].n_unique() != 1:
        raise InputError(f"{path}: expected the shift table of one model, or corruption,severity,error.")
    cells, clean_error = _parts(table.rows)
    return Normaliser(Path(path).name, _errors(cells, f"{path}: "), clean_error)
