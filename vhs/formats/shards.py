"""Shard sets: a folder of WebDataset tars and, written last, `shards.json`.

A sample is `key.png|jpg|webp` and `key.cls`, optionally `key.json`. See docs/formats.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vhs.errors import InputError
from vhs.formats import digests, index, manifest_checks, places, regular, tar, tars, transfers
from vhs.formats.digests import Digests, Statements
from vhs.formats.images import SUFFIXES, decode
from vhs.formats.index import Index, Row
from vhs.formats.manifest import Manifest
from vhs.formats.places import Place, Remote
from vhs.formats.sample import FURTHER, Sample
from vhs.formats.tars import CachedTars, LocalTars, Tar

MANIFEST = "shards.json"
MOST = 1 << 28
"""Bytes of a manifest behind a URL."""
LABELS = "labels"
"""Key of a sample's .json under which all its right labels stand."""
MEMBERS = (*SUFFIXES, "cls", "json", *FURTHER)


@dataclass(frozen=True)
class ShardSet:
    """A complete shard set, on disk or behind a URL. verify: whether what is read is compared with its hashes."""

    folder: Place
    manifest: Manifest
    verify: bool = True

    @classmethod
    def open(cls, folder: Place) -> ShardSet:
        """Raises InputError when there is no complete set."""
        path = folder / MANIFEST
        if isinstance(path, Remote):
            try:
                return cls(folder, _manifest(transfers.read(path, MOST), path))
            except transfers.Missing as error:
                raise InputError(f"{error} Name the URL of a folder that holds a shard set.") from error
        if path.exists():
            return cls(folder, _manifest(regular.read(path), path))
        assert isinstance(folder, Path)
        if folder.is_file():
            raise InputError(f"{folder}: is a file; a folder with {MANIFEST} was expected.")
        why = "is not there" if not folder.exists() else f"holds no {MANIFEST}, so no complete shard set"
        raise InputError(f"{folder}: {why}. Make one with `vhs shard SOURCE {folder}`.")

    @cached_property
    def digests(self) -> Digests | None:
        """The digests of its samples; None for a set that was written without."""
        return digests.read(self.folder, self.manifest.hash, self.manifest.samples)

    @cached_property
    def tars(self) -> LocalTars | CachedTars:
        """What its tars are opened by."""
        return tars.of(places.join(self.folder, self.manifest.tars_at), self.manifest.tars)

    @cached_property
    def index(self) -> Index | None:
        """Where its samples lie, for a set whose tars are others' or elsewhere; None where the tars themselves tell."""
        if self.manifest.tars_at is None and isinstance(self.folder, Path):
            return None
        found = index.read(
            self.folder, self.manifest.hash, self.manifest.samples, [entry.bytes for entry in self.manifest.tars]
        )
        if found is None and self.manifest.tars_at is not None:
            raise InputError(f"{self.folder}: has no {index.FILE} of this manifest. Run `vhs shard --in-place` again.")
        return found

    def samples(self) -> Iterator[Sample]:
        """Every sample once, in stored order.

        Raises InputError naming tar and member for what is wrong, at the end for ids, labels or attributes that are
        not those that were sharded.
        """
        seen: set[str] = set()
        stated = Statements()
        for lies, row in self._rows():
            if row.key in seen:
                raise InputError(f"{lies.where}: {row.key}: this sample id stands twice in the set.")
            stated.add(row.key, row.label.encode(errors=ODD), row.json.encode(errors=ODD))
            yield self._sample(row, lies, len(seen))
            seen.add(row.key)
        if self.verify and self.digests is not None and stated.value() != self.digests.stated:
            raise InputError(f"{self.folder}: its labels or ids are not what was sharded. Shard it again.")

    def _rows(self) -> Iterator[tuple[Tar, Row]]:
        """Every sample with its tar: by the index, or by walking through the tars."""
        lie = [Tar(entry, self.tars) for entry in self.manifest.tars]
        if self.index is not None:
            for row in self.index.rows():
                yield lie[row.tar], row
            return
        for number, (entry, lies) in enumerate(zip(self.manifest.tars, lie, strict=True)):
            count = 0
            for row in rows_of(lies.data(), lies.where, number):
                yield lies, row
                count += 1
            if count != entry.samples:
                raise InputError(f"{lies.where}: {count} samples, {MANIFEST} says {entry.samples}. Shard it again.")

    def _sample(self, row: Row, lies: Tar, place: int) -> Sample:
        has_image = any(suffix in row.members for suffix in SUFFIXES)
        if not has_image or not (self.manifest.targets or row.label):
            missing = "image" if not has_image else ".cls"
            raise InputError(f"{lies.where}: {row.key}: has no {missing}; it has {', '.join(sorted(_kinds(row)))}.")
        attributes, targets = self._attributes(row, lies.where)
        number = -1 if self.manifest.targets else self._label(row, lies.where)
        labels = self._labels(row, number, lies.where) if self.manifest.labels > 1 else ()
        return Sample(row.key, number, lies, row.members, attributes, targets, place, labels)

    def _label(self, row: Row, where: str) -> int:
        classes, text = len(self.manifest.classes), row.label
        if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) >= classes:
            raise InputError(f"{where}: {row.key}.cls: label {text[:20]!r}, expected a whole number below {classes}.")
        return int(text)

    def _labels(self, row: Row, first: int, where: str) -> tuple[int, ...]:
        """All right labels: the .json's, the first of which is the .cls; or that alone."""
        found: Any = None
        with suppress(ValueError, AttributeError, RecursionError):  # said below
            found = json.loads(row.json).get(LABELS, [first]) if row.json else [first]
        whole = isinstance(found, list) and all(type(label) is int for label in found)
        most, classes = self.manifest.labels, len(self.manifest.classes)
        distinct = whole and 1 <= len(found) == len(set(found)) <= most and found[0] == first
        if not distinct or not all(0 <= label < classes for label in found):
            raise InputError(
                f"{where}: {row.key}: its {LABELS} are {found!r:.60}; expected 1 to {most} whole numbers below "
                f"{classes}, {first} first. Shard it again."
            )
        return tuple(found)

    def _attributes(self, row: Row, where: str) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The attributes and targets that the sample's .json holds."""
        names, targets = self.manifest.groups, self.manifest.targets
        if not names and not targets:
            return (), ()
        try:
            stored = json.loads(row.json)
            values, numbers = tuple(stored[name] for name in names), tuple(stored[name] for name in targets)
        except (KeyError, ValueError, TypeError, RecursionError):
            values, numbers = (None,), ()
        fine = all(isinstance(value, str) for value in values) and all(
            isinstance(value, (int, float)) and abs(value) < 1e30 for value in numbers
        )
        if not fine:
            wanted = ", ".join((*names, *targets))
            raise InputError(f"{where}: {row.key}: has no .json with values for {wanted}. Shard it again.")
        return values, numbers

    def decode(self, sample: Sample) -> np.ndarray:
        """uint8 [H, W, C]."""
        return decode(sample.image, self.manifest.channels, sample.where)


def _manifest(data: bytes, where: Place) -> Manifest:
    return manifest_checks.check(Manifest.from_bytes(data, where), where)


def _kinds(row: Row) -> list[str]:
    return [*row.members, *(["cls"] if row.label else []), *(["json"] if row.json else [])]


ODD = "surrogateescape"
"""How text that is not UTF-8 is kept as it is."""


def rows_of(data: Any, where: object, number: int) -> Iterator[Row]:
    """The samples of a tar that vhs wrote, which is the `number`th of its set."""
    for key, parts in by_sample(tar.members(data, where), where):
        label, said = (_text(data, parts.pop(kind, None)) for kind in index.STATED)
        yield Row(number, key, label, said, parts)


def _text(data: Any, member: tar.Member | None) -> str:
    return "" if member is None else bytes(data[member.offset : member.offset + member.size]).decode(errors=ODD)


def by_sample(members: Iterator[tar.Member], where: object) -> Iterator[tuple[str, dict[str, tar.Member]]]:
    """Key and members by suffix of each sample of a tar.

    A sample is consecutive members with the same key, which ends at the first dot of the file name.
    """
    key, parts = None, {}
    for member in members:
        folder, slash, base = member.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        if suffix not in MEMBERS:
            raise InputError(f"{where}: {member.name}: unexpected kind of member; known are .{', .'.join(MEMBERS)}.")
        name = folder + slash + stem
        if name != key and key is not None:
            yield key, parts
            parts = {}
        key = name
        parts[suffix] = member
    if key is not None:
        yield key, parts


def find_sets(folder: Place) -> Iterator[ShardSet]:
    """Complete shard sets in `folder` or up to two levels below it, by path; unreadable ones are passed over."""
    if isinstance(folder, Remote):
        yield from _sets_behind(folder)
        return
    for pattern in (MANIFEST, f"*/{MANIFEST}", f"*/*/{MANIFEST}"):
        for path in sorted(folder.glob(pattern)):
            try:
                yield ShardSet.open(path.parent)
            except InputError:
                continue


def _sets_behind(place: Remote) -> Iterator[ShardSet]:
    """The same behind a URL; where the server lists no folders, those that splits are called."""
    if transfers.exists(place / MANIFEST):
        yield ShardSet.open(place)
        return
    for folder in transfers.folders(place) or [place / name for name in SPLITS]:
        if transfers.exists(folder / MANIFEST):
            yield ShardSet.open(folder)
            continue
        for below in transfers.folders(folder):
            if transfers.exists(below / MANIFEST):
                yield ShardSet.open(below)


SPLITS = ("train", "val", "test")


def is_set(place: Place) -> bool:
    """Whether a complete set lies there."""
    path = place / MANIFEST
    return transfers.exists(path) if isinstance(path, Remote) else path.exists()


def pick(folder: Place, want: Callable[[Manifest], bool], what: str) -> ShardSet:
    """The one set in or below `folder` that is wanted, not a shifted version; `what` words it for the error."""
    if is_set(folder) or (isinstance(folder, Path) and not folder.is_dir()):
        return ShardSet.open(folder)
    every = [item for item in find_sets(folder) if want(item.manifest)]
    found = [item for item in every if item.manifest.base is None] or every
    if len(found) == 1:
        return found[0]
    if not found:
        if isinstance(folder, Remote) and not every:
            return ShardSet.open(folder)  # says what the server answers
        advice = f" Make one with `vhs shard SOURCE {folder}`." if isinstance(folder, Path) else ""
        raise InputError(f"{folder}: holds no {what} shard set.{advice}")
    names = ", ".join(str(item.folder) for item in found)
    raise InputError(f"{folder}: holds several {what} shard sets: {names}. Name one.")
