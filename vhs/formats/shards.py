"""Shard sets: a folder of WebDataset tars and, written last, `shards.json`.

A sample is `key.png|jpg|webp` and `key.cls`, optionally `key.json`. See docs/formats.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from vhs.errors import InputError
from vhs.formats import digests, manifest_checks, regular, tar
from vhs.formats.digests import Digests, Statements
from vhs.formats.images import SUFFIXES, decode
from vhs.formats.manifest import Manifest, TarEntry

MANIFEST = "shards.json"
LABELS = "labels"
"""Key of a sample's .json under which all its right labels stand."""
FURTHER = ("regions.png", "bare.png")
MEMBERS = (*SUFFIXES, "cls", "json", *FURTHER)


class Sample(NamedTuple):
    """One sample as stored: id, label (-1 where there are targets), encoded image (a view of the mapped tar), a value
    a group column, a number a target; further: its other images by suffix, `regions.png` and `bare.png`; place: its
    position in stored order; labels: all that are right, where the set has samples with several."""

    id: str
    label: int
    image: memoryview
    where: str
    attributes: tuple[str, ...] = ()
    targets: tuple[float, ...] = ()
    further: Mapping[str, memoryview] = MappingProxyType({})
    place: int = 0
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class ShardSet:
    """A complete shard set on disk. verify: whether what is read is compared with its hashes."""

    folder: Path
    manifest: Manifest
    verify: bool = True

    @classmethod
    def open(cls, folder: Path) -> ShardSet:
        """Raises InputError when the folder holds no complete set."""
        path = folder / MANIFEST
        if path.exists():
            return cls(folder, manifest_checks.check(Manifest.from_bytes(regular.read(path), path), path))
        if folder.is_file():
            raise InputError(f"{folder}: is a file; a folder with {MANIFEST} was expected.")
        why = "is not there" if not folder.exists() else f"holds no {MANIFEST}, so no complete shard set"
        raise InputError(f"{folder}: {why}. Make one with `vhs shard SOURCE {folder}`.")

    @cached_property
    def digests(self) -> Digests | None:
        """The digests of its samples; None for a set that was written without."""
        return digests.read(self.folder, self.manifest.hash, self.manifest.samples)

    def samples(self) -> Iterator[Sample]:
        """Every sample once, in stored order.

        Raises InputError naming tar and member for what is wrong, at the end for ids, labels or attributes that are
        not those that were sharded.
        """
        seen: set[str] = set()
        stated = Statements()
        for entry in self.manifest.tars:
            yield from self._tar_samples(entry, seen, stated)
        if self.verify and self.digests is not None and stated.value() != self.digests.stated:
            raise InputError(f"{self.folder}: its labels or ids are not what was sharded. Shard it again.")

    def _tar_samples(self, entry: TarEntry, seen: set[str], stated: Statements) -> Iterator[Sample]:
        path = self.folder / entry.name
        data = tar.open_tar(path)
        if len(data) != entry.bytes:
            raise InputError(f"{path}: {len(data)} bytes, {MANIFEST} says {entry.bytes}; truncated? Shard it again.")
        count = 0
        for key, parts in by_sample(tar.members(data, path), path):
            if key in seen:
                raise InputError(f"{path}: {key}: this sample id stands twice in the set.")
            stated.add(key, *(_bytes(data, parts[kind]) if kind in parts else b"" for kind in ("cls", "json")))
            yield self._sample(key, parts, data, path)._replace(place=len(seen))
            seen.add(key)
            count += 1
        if count != entry.samples:
            raise InputError(f"{path}: {count} samples, {MANIFEST} says {entry.samples}. Shard it again.")

    def _sample(self, key: str, parts: dict[str, tar.Member], data: Any, path: Path) -> Sample:
        image = next((parts[suffix] for suffix in SUFFIXES if suffix in parts), None)
        if image is None or not (self.manifest.targets or "cls" in parts):
            missing = "image" if image is None else ".cls"
            raise InputError(f"{path}: {key}: has no {missing}; it has {', '.join(sorted(parts))}.")
        view = memoryview(data)
        further = {name: view[part.offset : part.offset + part.size] for name, part in parts.items() if name in FURTHER}
        encoded = view[image.offset : image.offset + image.size]
        attributes, targets = self._attributes(key, parts, data, path)
        number = -1 if self.manifest.targets else self._label(key, _bytes(data, parts["cls"]), path)
        made = Sample(key, number, encoded, f"{path}: {image.name}", attributes, targets, further)
        return made if self.manifest.labels == 1 else made._replace(labels=self._labels(made, parts, data, path))

    def _label(self, key: str, text: bytes, path: Path) -> int:
        classes = len(self.manifest.classes)
        if not text.isdigit() or len(text) > 9 or int(text) >= classes:
            raise InputError(f"{path}: {key}.cls: label {text[:20]!r}, expected a whole number below {classes}.")
        return int(text)

    def _labels(self, sample: Sample, parts: dict[str, tar.Member], data: Any, path: Path) -> tuple[int, ...]:
        """All right labels: the .json's, the first of which is the .cls; or that alone."""
        alone = [sample.label]
        found: Any = None
        with suppress(ValueError, AttributeError, RecursionError):  # said below
            found = json.loads(_bytes(data, parts["json"])).get(LABELS, alone) if "json" in parts else alone
        whole = isinstance(found, list) and all(type(label) is int for label in found)
        most, classes = self.manifest.labels, len(self.manifest.classes)
        distinct = whole and 1 <= len(found) == len(set(found)) <= most and found[0] == sample.label
        if not distinct or not all(0 <= label < classes for label in found):
            raise InputError(
                f"{path}: {sample.id}: its {LABELS} are {found!r:.60}; expected 1 to {most} whole numbers below "
                f"{classes}, {sample.label} first. Shard it again."
            )
        return tuple(found)

    def _attributes(
        self, key: str, parts: dict[str, tar.Member], data: Any, path: Path
    ) -> tuple[tuple[str, ...], tuple[float, ...]]:
        """The attributes and targets that the sample's .json holds."""
        names, targets = self.manifest.groups, self.manifest.targets
        if not names and not targets:
            return (), ()
        try:
            stored = json.loads(_bytes(data, parts["json"]))
            values, numbers = tuple(stored[name] for name in names), tuple(stored[name] for name in targets)
        except (KeyError, ValueError, TypeError, RecursionError):
            values, numbers = (None,), ()
        fine = all(isinstance(value, str) for value in values) and all(
            isinstance(value, (int, float)) and abs(value) < 1e30 for value in numbers
        )
        if not fine:
            wanted = ", ".join((*names, *targets))
            raise InputError(f"{path}: {key}: has no .json with values for {wanted}. Shard it again.")
        return values, numbers

    def decode(self, sample: Sample) -> np.ndarray:
        """uint8 [H, W, C]."""
        return decode(sample.image, self.manifest.channels, sample.where)


def _bytes(data: Any, member: tar.Member) -> bytes:
    return bytes(data[member.offset : member.offset + member.size])


def by_sample(members: Iterator[tar.Member], where: Path) -> Iterator[tuple[str, dict[str, tar.Member]]]:
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


def find_sets(folder: Path) -> Iterator[ShardSet]:
    """Complete shard sets in `folder` or up to two levels below it, by path; unreadable ones are passed over."""
    for pattern in (MANIFEST, f"*/{MANIFEST}", f"*/*/{MANIFEST}"):
        for path in sorted(folder.glob(pattern)):
            try:
                yield ShardSet.open(path.parent)
            except InputError:
                continue


def pick(folder: Path, want: Callable[[Manifest], bool], what: str) -> ShardSet:
    """The one set in or below `folder` that is wanted, not a shifted version; `what` words it for the error."""
    if (folder / MANIFEST).exists() or not folder.is_dir():
        return ShardSet.open(folder)
    every = [item for item in find_sets(folder) if want(item.manifest)]
    found = [item for item in every if item.manifest.base is None] or every
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{folder}: holds no {what} shard set. Make one with `vhs shard SOURCE {folder}`.")
    names = ", ".join(str(item.folder) for item in found)
    raise InputError(f"{folder}: holds several {what} shard sets: {names}. Name one.")
