"""What a report is made of: tables by kind, what lies beside them, maps, a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from vhs.errors import InputError, MismatchError, UsageError
from vhs.figures import selection
from vhs.formats import checkpoints, map_file, tables
from vhs.formats.atomic import sha256_file
from vhs.formats.checkpoints import CheckpointInfo
from vhs.formats.map_file import MapFile
from vhs.formats.tables import Table

Read = Callable[[Any], Table]
BESIDE = (".folds.parquet", ".outcomes.parquet")
"""Of an ablation: what intervals and choices are scored from."""
SCORED = ("ablate", "ablate_regression")
KEYS = [
    "model_id", "data", "shift", "corruption", "severity", "group", "label_set", "fill", "method", "target", "unit",
    "layer", "head", "layer_b", "head_b", "heads",
]  # fmt: skip
TALLIES = ("folds", "folds_regression", "outcomes")


@dataclass(frozen=True)
class Source:
    """A table or maps file as it was read. command: what wrote it, where that is recorded; versions: of libraries."""

    name: str
    kind: str
    rows: int
    sha256: str = ""
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    part: bool = False


@dataclass(frozen=True)
class Named:
    """Tables by kind, rows of one kind joined; maps; checkpoints by path; where all that came from."""

    tables: dict[str, pl.DataFrame]
    maps: list[MapFile]
    models: dict[str, CheckpointInfo]
    sources: list[Source]
    outcomes: list[pl.DataFrame] = field(default_factory=list)

    def models_of(self) -> list[tuple[str, str]]:
        """(id, name) of every model that the tables name, in order."""
        found: dict[str, str] = {}
        for kind, table in self.tables.items():
            if "model_id" in table.columns and kind not in TALLIES:
                found |= dict(table.select("model_id", "model").unique(maintain_order=True).iter_rows())
        return list(found.items())


def open_named(things: Sequence[Any], read: Read, note: Callable[[str], None]) -> Named:
    """Read tables, maps and checkpoints, and the tallies and outcomes that lie beside ablation tables.

    Raises InputError for a file that is none of these, MismatchError for files that were written beside another table.
    """
    found: dict[str, list[pl.DataFrame]] = {}
    maps, models, sources = [], {}, []
    for thing in _with_beside(things):
        path = thing if isinstance(thing, str) else ""
        if isinstance(thing, MapFile) or path.endswith(".safetensors"):
            item = thing if isinstance(thing, MapFile) else _safetensors(path)
            if isinstance(item, CheckpointInfo):
                models[path] = item
                continue
            maps.append(item)
            sources.append(
                Source(item.where, "maps", len(item.info.samples), hashed(path), versions=dict(item.info.versions))
            )
            continue
        schema, rows, part = read(thing)
        found.setdefault(schema.name, []).append(rows)
        digest = hashed(path)
        made = made_by(path, digest)
        command, versions = str(made.get("command", "")), made.get("versions", {})
        sources.append(Source(path or "a frame", schema.name, len(rows), digest, command, versions, part))
    if not found and not maps and not models:
        raise UsageError("names no table. Add what `vhs ablate`, `evalshift`, `specialize` and the others wrote.")
    outcomes = [selection.told_apart(table) for table in found.pop("outcomes", [])]
    joined = {name: _joined(name, parts) for name, parts in found.items()}
    for name in SCORED:
        if name in joined and not outcomes and not any(kind in joined for kind in TALLIES):
            note(f"no {BESIDE[0][1:]} beside the ablation table: means over conditions have no interval.")
    return Named(joined, maps, models, sources, outcomes)


def _with_beside(things: Sequence[Any]) -> list[Any]:
    """All that is named, each once, and companions of tables that are files."""
    every: list[Any] = []
    for thing in things:
        every.append(thing)
        if not isinstance(thing, str) or thing == "-" or thing.endswith(".safetensors"):
            continue
        for suffix in BESIDE:
            beside = Path(thing).with_suffix(suffix)
            if not thing.endswith(suffix) and beside.is_file():
                tables.check_beside(beside, Path(thing))
                every.append(str(beside))
    once: dict[str | int, Any] = {}
    for index, thing in enumerate(every):
        once.setdefault(str(Path(thing)) if isinstance(thing, str) else index, thing)
    return list(once.values())


def _safetensors(path: str) -> MapFile | CheckpointInfo:
    if not Path(path).exists():
        raise InputError(f"{path}: no such file. Name an existing one.")
    return map_file.read(Path(path)) if map_file.is_map_file(Path(path)) else checkpoints.read_info(Path(path))


def _joined(name: str, parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows of one kind, equal ones once. Raises MismatchError where an ablation's rows share keys and differ."""
    joined = selection.told_apart(pl.concat(parts).unique(maintain_order=True))
    if name in SCORED:
        tables.check_grid(joined, "the ablation tables") if name == "ablate" else None
        twice = joined.filter(pl.struct(KEYS).is_duplicated())
        if len(twice):
            raise MismatchError(
                f"the ablation tables hold {twice['model'][0]} under {twice['shift'][0]} twice with unlike numbers. "
                f"Name one of them."
            )
    return joined


def made_by(path: str, digest: str) -> dict[str, Any]:
    """What the table's own metadata, or that of a file written beside it, which names its hash, says of its making."""
    if not path or path == "-":
        return {}
    place = Path(path)
    if place.suffix == ".parquet":
        return tables.read_provenance(place)
    for other in sorted(place.parent.glob(f"{place.stem}.*.parquet")):
        made = tables.read_provenance(other)
        if isinstance(made.get("beside"), dict) and made["beside"].get("sha256") == digest:
            return made
    return {}


def hashed(path: str) -> str:
    return sha256_file(Path(path)) if path and path != "-" and Path(path).is_file() else ""
