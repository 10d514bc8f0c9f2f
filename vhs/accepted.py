"""What functions of Python accept where the command line has names and paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from vhs.errors import UsageError
from vhs.formats import places, tables
from vhs.formats.places import Place
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet
from vhs.formats.tables import Table

Models = Loaded | str | Path | Sequence[Loaded | str | Path]
Data = ShardSet | str | Path | None
Names = str | Sequence[str]


class Ablated(NamedTuple):
    """Tables of `ablate`: a row a head and condition; integer tallies by fold; each sample's outcomes, if asked for."""

    rows: pl.DataFrame
    folds: pl.DataFrame
    outcomes: pl.DataFrame


class Shifted(NamedTuple):
    """Tables of `evalshift`: a row a condition, or the summary asked for; confidence bins."""

    rows: pl.DataFrame
    calibration: pl.DataFrame


class Specialized(NamedTuple):
    """Tables of `specialize`: a row a head, metric and condition; a row a pair of heads and condition."""

    heads: pl.DataFrame
    pairs: pl.DataFrame


def models(given: Models) -> list[str | Loaded]:
    """References as text, and loaded models. Raises UsageError for anything else."""
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    for model in listed:
        check_kind(model, (Loaded, str, Path), "a model is a reference, or what load_model and train give")
    return [model if isinstance(model, Loaded) else str(model) for model in listed]


def data(given: Data) -> Place | ShardSet | None:
    """A folder, a URL or a shard set. Raises UsageError for anything else."""
    if given is not None:
        check_kind(given, (ShardSet, str, Path), "data is the folder or URL of a shard set, or what open_shards gives")
    return places.parse(given) if isinstance(given, str | Path) else given


def check_kind(value: object, kinds: tuple[type, ...], expected: str) -> None:
    """Raises UsageError for a value of another kind."""
    if not isinstance(value, kinds):
        raise UsageError(f"{expected}; this is a {type(value).__module__}.{type(value).__name__}.")


def place(given: str | Path | None) -> Place | None:
    """A folder or a URL, where one is given."""
    return None if given is None else places.parse(given)


def path(given: str | Path | None) -> Path | None:
    """A path, where one is given."""
    return None if given is None else Path(given)


def names(given: Names) -> list[str]:
    """One name or several, as a list."""
    return [given] if isinstance(given, str) else list(given)


def source(given: Any, *, folds: bool = False) -> Any:
    """What stands for a table: the part of several tables that is meant, a file's name, or a frame."""
    if isinstance(given, Ablated):
        return given.folds if folds else given.rows
    if isinstance(given, (Shifted, Specialized)):
        return given[0]
    return str(given) if isinstance(given, Path) else given


def table(given: Any) -> Table:
    """Raises InputError for a frame or a file that is no vhs table."""
    check_kind(given, (pl.DataFrame, str), "a table is a polars frame, a file, or what a function of vhs gave")
    return tables.of_frame(given) if isinstance(given, pl.DataFrame) else tables.read(given)
