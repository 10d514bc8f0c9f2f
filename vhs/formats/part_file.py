"""Parts of a measuring run: unsummed integer tallies, and what is known of the run. See docs/formats.md.

MAGIC, a digest of what follows, the length of the header, the header (JSON, deflated), an npz of tallies. No torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vhs.counts import Counts
from vhs.errors import InputError
from vhs.formats import regular
from vhs.formats.typed_json import build, plain
from vhs.world import Part

MAGIC = b"vhs part\n"
FORMAT = 1
DIGEST = 32
MAX_HEADER, MAX_VALUES = 1 << 30, 1 << 31
DTYPES = ("int64", "uint8")
ADVICE = "Run this part again, or copy it again."
Results = list[dict[str, Counts]]


class Stored(NamedTuple):
    """One tally of the archive: whose it is, its fields, shape and type; sparse: whether only rows are kept in which
    anything was counted."""

    condition: int
    model: int
    name: str
    fields: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    sparse: bool


@dataclass(frozen=True, kw_only=True)
class PartInfo:
    """What a part says of itself.

    fingerprint: what all parts of a run have alike; asked: what is to be made of it (a summary); provenance: what a
    table records; typed: the words of the command; record: of records/record; samples: how many of all chosen ones this
    part measured of the run's data; skipped: bad ones it left out.
    """

    index: int
    count: int
    fingerprint: dict[str, Any]
    record: dict[str, Any]
    asked: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    typed: tuple[str, ...] = ()
    samples: int = 0
    chosen: int = 0
    skipped: tuple[str, ...] = ()
    tallies: tuple[Stored, ...] = ()
    format: int = FORMAT

    @property
    def part(self) -> Part:
        """Which of how many."""
        return Part(self.index, self.count)


class Tallies:
    """Tallies as they are collected, condition after condition."""

    def __init__(self) -> None:
        self._stored: list[Stored] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._conditions = 0

    def add(self, results: Results) -> None:
        """Those of the next condition, by model."""
        for model, tallies in enumerate(results):
            for name, counts in tallies.items():
                self._add(model, name, counts)
        self._conditions += 1

    def _add(self, model: int, name: str, counts: Counts) -> None:
        values, number = counts.values, len(self._stored)
        rows = values.reshape(-1, values.shape[-1])
        there = np.flatnonzero(rows.any(1))
        sparse = 2 * len(there) < len(rows)
        if sparse:
            rows = rows[there]
            self._arrays[f"{number}.rows"] = there
        self._arrays[str(number)] = _narrow(rows)
        stored = self._conditions, model, name, counts.fields, values.shape, str(values.dtype), sparse
        self._stored.append(Stored(*stored))

    def to_bytes(self, info: PartInfo) -> bytes:
        """A part file of these tallies."""
        described = plain(info) | {"tallies": plain(self._stored)}
        header = zlib.compress(json.dumps(described, sort_keys=True).encode())
        archive = io.BytesIO()
        np.savez_compressed(archive, **self._arrays)  # type: ignore[arg-type]
        body = struct.pack("<Q", len(header)) + header + archive.getvalue()
        return MAGIC + _digest(body) + body


@dataclass(frozen=True)
class PartFile:
    """A part as it was read."""

    info: PartInfo
    where: str
    archive: bytes

    def add_to(self, totals: list[dict[str, Counts]], condition: int) -> list[dict[str, Counts]]:
        """`totals` (empty: nothing yet) and this part's tallies of a condition. Raises ValueError for unlike ones."""
        found = list(self._of(condition))
        if not found:
            raise ValueError
        if not totals:
            totals = [{} for _ in range(1 + max(stored.model for stored, *_ in found))]
            for stored, *_ in found:
                totals[stored.model][stored.name] = Counts(np.zeros(stored.shape, stored.dtype), stored.fields)
        if {(s.model, s.name) for s, *_ in found} != {(m, name) for m, held in enumerate(totals) for name in held}:
            raise ValueError
        for stored, rows, values in found:
            total = totals[stored.model][stored.name]
            if (total.values.shape, total.fields) != (stored.shape, stored.fields):
                raise ValueError
            total.values.reshape(-1, stored.shape[-1])[rows] += values.astype(stored.dtype)
        return totals

    @cached_property
    def _arrays(self) -> Any:
        """The archive, opened once: its list of thousands of arrays is what takes long."""
        return np.load(io.BytesIO(self.archive), allow_pickle=False)

    @cached_property
    def _numbers(self) -> dict[int, list[int]]:
        """The numbers of the tallies of each condition."""
        found: dict[int, list[int]] = {}
        for number, stored in enumerate(self.info.tallies):
            found.setdefault(stored.condition, []).append(number)
        return found

    def _of(self, condition: int) -> Iterator[tuple[Stored, Any, np.ndarray]]:
        """(what it is, which rows, their values) of each tally. Raises InputError for an archive that is unsound."""
        try:
            for number in self._numbers.get(condition, ()):
                stored = self.info.tallies[number]
                rows = self._arrays[f"{number}.rows"] if stored.sparse else slice(None)
                yield stored, rows, self._arrays[str(number)]
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{self.where}: is a damaged part: {error}. {ADVICE}") from error


def is_part(data: bytes) -> bool:
    """Whether bytes begin as a part does."""
    return data.startswith(MAGIC)


def is_part_file(path: Path) -> bool:
    """Whether a file does; False for anything that is not there or cannot be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return is_part(file.read(len(MAGIC)))
    except (OSError, ValueError):
        return False


def read(path: Path) -> PartFile:
    """Raises InputError for anything that is not a sound part."""
    return from_bytes(regular.read(path), str(path))


def from_bytes(data: bytes, where: str) -> PartFile:
    """Raises InputError saying what is wrong."""
    if not is_part(data):
        raise InputError(f"{where}: is no part of a run. `vhs ablate … --part 0/4 -o FILE` writes one.")
    digest, body = data[len(MAGIC) :][:DIGEST], data[len(MAGIC) + DIGEST :]
    if digest != _digest(body):
        raise InputError(f"{where}: is damaged or cut off: its digest is another. {ADVICE}")
    try:
        (length,) = struct.unpack("<Q", body[:8])
        raw = json.loads(zlib.decompressobj().decompress(body[8 : 8 + length], MAX_HEADER))
        if raw["format"] != FORMAT:
            raise InputError(f"{where}: part format {raw['format']!r:.20}, this vhs reads {FORMAT}.")
        info = build(PartInfo, raw)
        archive = body[8 + length :]
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            regular.check_unpacked(sum(entry.file_size for entry in packed.infolist()), len(archive), where)
        _check(info)
    except (ValueError, KeyError, TypeError, RecursionError, struct.error, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"{where}: is a damaged part: {error}. {ADVICE}") from error
    return PartFile(info, where, archive)


def _check(info: PartInfo) -> None:
    """Raises ValueError for numbers that no part has."""
    if not 0 <= info.index < info.count:
        raise ValueError(f"it is part {info.part}")
    for stored in info.tallies:
        sizes = [side for side in stored.shape if side >= 0]
        if stored.dtype not in DTYPES or len(sizes) != len(stored.shape) or not sizes:
            raise ValueError(f"its tally {stored.name} has no usual shape")
        if np.prod(sizes, dtype=float) > MAX_VALUES or stored.model < 0 or stored.shape[-1] != len(stored.fields):
            raise ValueError(f"its tally {stored.name} has no usual size")


def _narrow(values: np.ndarray) -> np.ndarray:
    """The same integers in the narrowest type that holds them."""
    if not values.size or values.dtype != np.int64:
        return values
    least, most = int(values.min()), int(values.max())
    kinds = (np.int8, np.int16, np.int32)
    found = next((kind for kind in kinds if np.iinfo(kind).min <= least and most <= np.iinfo(kind).max), np.int64)
    return values.astype(found)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=DIGEST).digest()


def refuse(data: bytes, where: str) -> None:
    """Raises InputError where a part was named in the place of a table."""
    if is_part(data):
        part = from_bytes(data, where).info.part
        raise InputError(f"{where}: is part {part} of a run, no table. `vhs merge` adds all parts.")
