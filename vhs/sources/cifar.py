"""CIFAR-10 and CIFAR-100 as published, in the python and the binary version, as torchvision leaves them unpacked.

Letters: N images; X 3072 values of an image: 32 rows of 32 red ones, then the green, then the blue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vhs.errors import InputError, choices
from vhs.formats import regular
from vhs.formats.split import Split, from_arrays
from vhs.sources import pickled

SIDE = 32
VALUES = 3 * SIDE * SIDE
MOST = 50_000
"""Images of a file."""


@dataclass(frozen=True)
class Level:
    """Labels of one kind. count: how many there are; labels, names: their keys in pickles; file: of names, as text."""

    count: int
    labels: str
    names: str
    file: str


LEVELS = {
    "cifar-10": (Level(10, "labels", "label_names", "batches.meta.txt"),),
    "cifar-100": (
        Level(20, "coarse_labels", "coarse_label_names", "coarse_label_names.txt"),
        Level(100, "fine_labels", "fine_label_names", "fine_label_names.txt"),
    ),
}
"""In the order of a record's bytes; the last is the class."""


@dataclass(frozen=True)
class Version:
    """One archive. folder: what it unpacks to; name: of the set; train, test: files of images; meta: of names."""

    folder: str
    name: str
    train: tuple[str, ...]
    test: str
    meta: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test, *self.meta)

    @property
    def advice(self) -> str:
        """What to do about a file that is not as published."""
        form = "python" if self.folder in MD5 else "binary"
        again = f"Download {self.name}-{form}.tar.gz again and unpack it whole"
        return f"{again}, or take the binary version." if self.folder in MD5 else f"{again}."


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
VERSIONS = (
    Version("cifar-10-batches-py", "cifar-10", BATCHES, "test_batch", ("batches.meta",)),
    Version(
        "cifar-10-batches-bin", "cifar-10", tuple(f"{name}.bin" for name in BATCHES), "test_batch.bin",
        ("batches.meta.txt",),
    ),
    Version("cifar-100-python", "cifar-100", ("train",), "test", ("meta",)),
    Version(
        "cifar-100-binary", "cifar-100", ("train.bin",), "test.bin",
        ("coarse_label_names.txt", "fine_label_names.txt"),
    ),
)  # fmt: skip
MD5 = {
    "cifar-10-batches-py": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    "cifar-100-python": {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
}
"""Of the published pickles, by folder and file: as in torchvision's datasets/cifar.py."""


class Part(NamedTuple):
    """Of one file or several: pixels_NX uint8; labels, whole numbers [N], one array a level."""

    pixels_NX: np.ndarray
    labels: list[np.ndarray]


def is_folder(folder: Path) -> bool:
    """Whether `folder` is one of the published folders, or holds one."""
    return bool(_found(folder))


def splits(folder: Path) -> list[Split]:
    """train and val (the published test images, whose ids are those that CIFAR-C's get), 32 x 32 RGB.

    folder: one of the published ones, under any name, or one that holds exactly one of them. The class of CIFAR-100 is
    the fine label, the coarse one the attribute `superclass`. Raises InputError for files that are not as published.
    """
    place, version = _only(folder)
    names = _names(place, version)
    parts = {"train": _part(place, version, version.train), "val": _part(place, version, (version.test,))}
    return _with_superclasses([_split(version, split, part, names[-1]) for split, part in parts.items()], parts, names)


def _only(folder: Path) -> tuple[Path, Version]:
    """The one published folder that `folder` is or holds, with all its files."""
    found = _found(folder)
    if len(found) != 1:
        held = " and ".join(place.name for place, _ in found) or "no CIFAR-10 or CIFAR-100"
        names = choices([version.folder for version in VERSIONS])
        raise InputError(f"{folder}: holds {held}; expected one of {names}. Name one of these folders.")
    place, version = found[0]
    missing = next((name for name in version.files if not (place / name).exists()), None)
    if missing is not None:
        raise InputError(f"{place / missing}: is missing; expected {', '.join(version.files)}. {version.advice}")
    return place, version


def _found(folder: Path) -> list[tuple[Path, Version]]:
    own = next((version for version in VERSIONS if _is_version(folder, version)), None)
    if own is not None:
        return [(folder, own)]
    below = [(folder / version.folder, version) for version in VERSIONS]
    return [(place, version) for place, version in below if place.is_dir() and _is_version(place, version)]


def _is_version(folder: Path, version: Version) -> bool:
    """Under the published name any of its files tells, under another the images of both splits."""
    there = [name for name in version.files if (folder / name).is_file()]
    return bool(there) if folder.resolve().name == version.folder else {version.train[0], version.test} <= set(there)


def _split(version: Version, split: str, part: Part, classes: Sequence[str]) -> Split:
    images = part.pixels_NX.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return from_arrays(
        np.ascontiguousarray(images), part.labels[-1], name=version.name, split=split, classes=classes,
        prefix="x-train" if split == "train" else "x-test", source=f"{version.name.upper()}, Krizhevsky 2009",
    )  # fmt: skip


def _with_superclasses(made: list[Split], parts: dict[str, Part], names: Sequence[Sequence[str]]) -> list[Split]:
    """The same, of two levels with the coarse one as attribute, and how many training images each value has."""
    if len(names) == 1:
        return made
    values = {split: [names[0][label] for label in part.labels[0].tolist()] for split, part in parts.items()}
    extra = {"train_groups": {"superclass": dict(Counter(values["train"]))}}
    return [replace(split, attributes={"superclass": values[split.split]}, extra=extra) for split in made]


def _part(place: Path, version: Version, files: Sequence[str]) -> Part:
    read = _of_pickle if version.folder in MD5 else _of_records
    parts = [_checked(place / name, read(place / name, version), version) for name in files]
    labels = [np.concatenate(of_level) for of_level in zip(*(part.labels for part in parts), strict=True)]
    return Part(np.concatenate([part.pixels_NX for part in parts]), labels)


def _checked(path: Path, part: Part, version: Version) -> Part:
    for level, labels in zip(LEVELS[version.name], part.labels, strict=True):
        wrong = np.flatnonzero((labels < 0) | (labels >= level.count))
        if len(wrong):
            found = f"{level.labels} of image {wrong[0]} is {labels[wrong[0]]}"
            raise InputError(f"{path}: {found}; expected 0 to {level.count - 1}. {version.advice}")
    return part


def _of_records(path: Path, version: Version) -> Part:
    levels = LEVELS[version.name]
    size = len(levels) + VALUES
    data = regular.read(path, MOST * size)
    if not data or len(data) % size:
        raise InputError(
            f"{path}: has {len(data):,} bytes; expected records of {size:,}, labels {len(levels)} and pixels "
            f"{VALUES:,}. {version.advice}"
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, size)
    return Part(rows[:, len(levels) :], [rows[:, place].astype(int) for place in range(len(levels))])


def _of_pickle(path: Path, version: Version) -> Part:
    levels = LEVELS[version.name]
    pixels, *labels = _values(path, version, "data", *(level.labels for level in levels))
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (VALUES,):
        raise InputError(f"{path}: its data are not uint8 [N, {VALUES:,}]. {version.advice}")
    for level, numbers in zip(levels, labels, strict=True):
        whole = isinstance(numbers, list) and all(type(number) is int and abs(number) < 1 << 31 for number in numbers)
        if not whole or len(numbers) != len(pixels):
            raise InputError(f"{path}: its {level.labels} are not {len(pixels):,} whole numbers. {version.advice}")
    return Part(pixels, [np.array(numbers, int) for numbers in labels])


def _names(place: Path, version: Version) -> list[tuple[str, ...]]:
    """Names of the labels, a list a level."""
    levels = LEVELS[version.name]
    meta = place / version.meta[0]
    if version.folder in MD5:
        found = _values(meta, version, *(level.names for level in levels))
    else:
        found = [regular.text(place / level.file).split() for level in levels]
    for level, names in zip(levels, found, strict=True):
        texts = isinstance(names, list) and all(isinstance(name, str) and name and name.isprintable() for name in names)
        if not texts or len(names) != level.count or len(set(names)) < level.count:
            path = meta if version.folder in MD5 else place / level.file
            raise InputError(f"{path}: expected {level.count} names of {level.labels}, each once. {version.advice}")
    return [tuple(names) for names in found]


def _values(path: Path, version: Version, *keys: str) -> list[Any]:
    entry = pickled.load(path, MD5[version.folder][path.name], version.advice)
    if not isinstance(entry, dict) or not set(keys) <= set(entry):
        raise InputError(f"{path}: lacks one of {', '.join(keys)}. {version.advice}")
    return [entry[key] for key in keys]
