"""`shards.index`: what is known of each sample of a set without opening its tars.

MAGIC, the manifest's hash (16 hex digits), a digest of the rest (16 bytes), then a Parquet table with a row a sample in
stored order: `tar` (its number in the manifest), `key`, `label` (text of `.cls`), `json`, `members` (its images,
`jpg:OFFSET:SIZE regions.png:OFFSET:SIZE`). By it sets behind URLs are known before a tar is fetched; of tars that
others wrote it says what is a sample at all.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vhs.errors import InputError
from vhs.formats import regular, transfers
from vhs.formats.atomic import write_whole
from vhs.formats.places import Place, Remote
from vhs.formats.tar import Member

FILE = "shards.index"
MAGIC = b"vhs-index-1\n"
HASH, DIGEST = 16, 16
MOST = 1 << 30
MEMBER = re.compile(r"[a-z.]{1,20}:(\d{1,15}):(\d{1,15})", re.ASCII)
MEMBERS = re.compile(rf"({MEMBER.pattern})( {MEMBER.pattern})*", re.ASCII)
STATED = ("cls", "json")
"""Members whose text the index holds."""


class Row(NamedTuple):
    """One sample: the number of its tar, its key, the text of `.cls` and `.json` (empty for none), and its other
    members by suffix."""

    tar: int
    key: str
    label: str
    json: str
    members: Mapping[str, Member]


@dataclass
class Index:
    """Samples in stored order, column by column."""

    tars: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    jsons: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, row: Row) -> None:
        """A further sample."""
        self.tars.append(row.tar)
        self.keys.append(row.key)
        self.labels.append(row.label)
        self.jsons.append(row.json)
        self.members.append(
            " ".join(f"{suffix}:{part.offset}:{part.size}" for suffix, part in row.members.items())
        )  # fmt: skip

    def rows(self) -> Iterator[Row]:
        """Every sample, in stored order."""
        columns = (self.tars, self.keys, self.labels, self.jsons, self.members)
        for tar, key, label, json, members in zip(*columns, strict=True):
            yield Row(tar, key, label, json, dict(_member(key, text) for text in members.split()))


def _member(key: str, text: str) -> tuple[str, Member]:
    suffix, offset, size = text.split(":")
    return suffix, Member(f"{key}.{suffix}", int(offset), int(size))


def to_bytes(index: Index, manifest_hash: str) -> bytes:
    """The file's content; the same bytes for the same samples and version of polars."""
    import polars as pl

    columns = {
        "tar": pl.Series(index.tars, dtype=pl.UInt32), "key": index.keys, "label": index.labels, "json": index.jsons,
        "members": index.members,
    }  # fmt: skip
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer, compression="zstd", compression_level=3)
    rest = buffer.getvalue()
    return MAGIC + manifest_hash.encode() + _digest(rest) + rest


def write(folder: Path, index: Index, manifest_hash: str) -> None:
    """Beside the manifest, whole or not at all."""
    write_whole(folder / FILE, to_bytes(index, manifest_hash))


def read(place: Place, manifest_hash: str, samples: int, sizes: Sequence[int]) -> Index | None:
    """That of the set with this manifest, so many samples, and tars of these sizes; None where there is none, or
    another set's.

    Raises InputError for one that is damaged.
    """
    path = place / FILE
    if isinstance(path, Remote):
        data = transfers.read_if_there(path, MOST) or b""
    else:
        data = regular.read(path, MOST) if path.is_file() else b""
    start = len(MAGIC) + HASH
    if data[:start] != MAGIC + manifest_hash.encode():
        return None
    digest, rest = data[start : start + DIGEST], data[start + DIGEST :]
    if digest != _digest(rest):
        raise InputError(f"{path}: is damaged. Copy it again, or remove it and run `vhs shard` again.")
    return _checked(rest, samples, sizes, path)


def holds(folder: Path, manifest_hash: str, sizes: Sequence[int], expected: Index) -> bool:
    """Whether the folder's index is this one."""
    try:
        return read(folder, manifest_hash, len(expected), sizes) == expected
    except InputError:
        return False


def _checked(data: bytes, samples: int, sizes: Sequence[int], path: Place) -> Index:
    import polars as pl

    try:
        table = pl.read_parquet(io.BytesIO(data))
        text = [table[name].cast(pl.String) for name in ("key", "label", "json", "members")]
        index = Index(table["tar"].cast(pl.Int64).to_list(), *(column.to_list() for column in text))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"{path}: is no index of samples: {str(error).splitlines()[0]}. Run `vhs shard` again."
        ) from error
    if len(index) != samples or table.null_count().sum_horizontal().item():
        raise InputError(f"{path}: {len(index)} samples, the manifest says {samples}. Run `vhs shard` again.")
    _check_places(index, sizes, path)
    return index


def _check_places(index: Index, sizes: Sequence[int], path: Place) -> None:
    """Raises InputError for a sample that lies outside the tars. sizes: bytes of each tar."""
    for row, (tar, members) in enumerate(zip(index.tars, index.members, strict=True)):
        fine = type(tar) is int and 0 <= tar < len(sizes) and isinstance(members, str) and MEMBERS.fullmatch(members)
        if not fine or any(int(part[1]) + int(part[2]) > sizes[tar] for part in MEMBER.finditer(members)):
            raise InputError(
                f"{path}: row {row}: {members!r:.60} in tar {tar!r:.20} lies in none. Run `vhs shard` again."
            )


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST).digest()
