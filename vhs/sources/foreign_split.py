"""Tars that others wrote as splits: their samples with ids, labels and class names."""

from __future__ import annotations

import io
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vhs.errors import InputError
from vhs.formats import regular, tar_cache
from vhs.formats.atomic import sha256
from vhs.formats.images import SUFFIXES
from vhs.formats.places import Place, Remote
from vhs.formats.split import Split, sample_ids, sample_key, tar_ids
from vhs.formats.tar import mapped
from vhs.progress import Note, Progress, silent, unheard
from vhs.sources import compressed, foreign
from vhs.sources.folders import PROBED, channels_of, wordnet
from vhs.sources.foreign import TarSet
from vhs.sources.foreign_samples import Foreign, Reading, Teller, samples

is_folder = foreign.is_folder
NUMBER, INDEX = re.compile(r"[+-]?\d+(\.\d*)?", re.ASCII), re.compile(r"\d{1,7}", re.ASCII)
MOST_GAPS, MOST_EMPTY = 100, 22_000
"""Labels may be this many times as large as there are different ones, or as ImageNet-21k has classes."""
OPEN = 8
"""Tars mapped at once."""


class Located(NamedTuple):
    """A sample of a split: the number of its tar, and what is known of it."""

    tar: int
    sample: Foreign


class State(NamedTuple):
    """Of a tar that was looked through. version: what changes with its content, as far as is told without reading."""

    size: int
    version: str


@dataclass(frozen=True)
class Contents:
    """All samples of a set of tars, in stored order. states: of the tars; ids: `TAR/KEY`, or `FOLDER/TAR/KEY` where
    tars of several folders have one name; labels: places among classes."""

    of: TarSet
    states: Sequence[State]
    samples: Sequence[Located]
    ids: Sequence[str]
    labels: Sequence[int]
    classes: tuple[str, ...]


def read(
    source: str, label: str | None = None, class_names: str | None = None, *, progress: Progress = silent,
    note: Note = unheard,
) -> list[Contents]:  # fmt: skip
    """The contents of every set of tars that `source` names, with one list of classes.

    label: the member that tells a sample's class, as `cls`, `txt` or `json:KEY`; None takes the first there is.
    class_names: such a member that tells the class's name, or a file with a name a line, the first for label 0.
    Raises InputError naming tar and sample for what is wrong.
    """
    teller = Teller.parse(label, "--label") if label is not None else None
    names, of_class = _names(class_names)
    found, reading = foreign.sets(source), Reading(teller, of_class)
    whole = [_samples(one, reading, progress) for one in found]
    if reading.bare:
        note(
            f"{len(reading.bare):,} samples have a label but no image ({', '.join(SUFFIXES)}) and are left out; the "
            f"first: {reading.bare[0]}"
        )
    classes, place = _classes([item.sample for items, _ in whole for item in items], names)
    return [
        Contents(
            of=one, states=states, samples=items, ids=_ids(one, items), classes=classes,
            labels=[_label(item.sample, place, str(one.tars[item.tar]), len(classes)) for item in items],
        )
        for one, (items, states) in zip(found, whole, strict=True)
    ]  # fmt: skip


def splits(folder: Path) -> list[Split]:
    """A split for each set of tars in a folder."""
    return [split_of(contents) for contents in read(str(folder))]


def split_of(contents: Contents, *, stays: bool = False) -> Split:
    """The contents as a split. stays: whether the images stay where they are, in tars that are compared with hashes."""
    files = _Opened(contents.of.tars)
    items = contents.samples

    def encoded(position: int) -> bytes:
        tar, sample = items[position]
        return bytes(files.data(tar)[sample.image.offset : sample.image.offset + sample.image.size])

    told = zip(contents.of.tars, contents.states, strict=True)
    known = [f"{place.name}:{size}" + ("" if stays else f":{version}") for place, (size, version) in told]
    return Split(
        name=contents.of.name, split=contents.of.split, classes=contents.classes, ids=contents.ids,
        labels=contents.labels, encoded=encoded, fingerprint=sha256("\n".join(known).encode()), source=contents.of.name,
        tars=contents.of.tars, lies=[(item.tar, item.sample.image) for item in items], names=_names_of(contents),
        channels=channels_of([partial(_opened, encoded, position) for position in range(min(PROBED, len(items)))]),
    )  # fmt: skip


def _names_of(contents: Contents) -> list[str]:
    """What a table of attributes may call the samples: their keys by the rule of images in folders, base names where
    these differ, else paths; where one key is in several tars, `TAR__KEY`."""
    try:
        return sample_ids([Path(item.sample.key) for item in contents.samples])
    except InputError:
        return [sample_key(name.replace("/", "__")) for name in contents.ids]


def local(place: Place) -> Path:
    """The file a tar lies in here, fetched into the cache where it lies elsewhere."""
    return tar_cache.default().unhashed(place) if isinstance(place, Remote) else place


def _opened(encoded: Callable[[int], bytes], position: int) -> Image.Image:
    return Image.open(io.BytesIO(encoded(position)))


class _Opened:
    """Tars mapped when they are read; only so many at once."""

    def __init__(self, tars: Sequence[Place]) -> None:
        self._tars = tars
        self._mapped: OrderedDict[int, memoryview] = OrderedDict()

    def data(self, number: int) -> memoryview:
        found = self._mapped.get(number)
        if found is None:
            place = self._tars[number]
            with compressed.opened(local(place), place) as file:
                found = self._mapped[number] = memoryview(mapped(file))
            while len(self._mapped) > OPEN:
                self._mapped.popitem(last=False)
        return found


def _samples(one: TarSet, reading: Reading, progress: Progress) -> tuple[list[Located], list[State]]:
    """Every sample, and what is told of each tar while it is here: the cache may not hold all of them."""
    found, states = [], []
    for number, place in enumerate(one.tars):
        progress(f"looking through {one.name}/{one.split}", number, len(one.tars))
        path = local(place)
        status = path.stat()
        states.append(State(status.st_size, path.name if isinstance(place, Remote) else str(status.st_mtime_ns)))
        with compressed.opened(path, place) as file:
            found += [Located(number, sample) for sample in samples(file, str(place), reading)]
    progress(f"looking through {one.name}/{one.split}", len(one.tars), len(one.tars))
    if not found:
        raise InputError(f"{one.tars[0]}: no sample of its tars has an image (.jpg, .png or .webp).")
    return found, states


def _names(told: str | None) -> tuple[list[str] | None, Teller | None]:
    """Names by label from a file, or the member that tells them."""
    if told is None:
        return None, None
    if told == "txt" or told == "cls" or told.startswith("json:"):
        return None, Teller.parse(told, "--class-names")
    names = [line.strip() for line in regular.text(Path(told)).rstrip().splitlines()]
    if not all(names) or not names or len(set(names)) < len(names):
        odd = (
            f"line {names.index('') + 1} is empty" if "" in names else f"it has {len(names)}, {len(set(names))} unlike"
        )
        raise InputError(f"{told}: expected one class a line, each once, the first for label 0; {odd}.")
    return names, None


def _classes(every: Sequence[Foreign], names: list[str] | None) -> tuple[tuple[str, ...], dict[str, int]]:
    """(class names in label order, label text -> place)."""
    texts = {sample.label for sample in every}
    numbers = {text for text in texts if NUMBER.fullmatch(text)}
    if not numbers or (names and texts <= set(names)):
        classes = names or sorted(texts)
        return tuple(classes), {name: place for place, name in enumerate(classes)}
    odd = next((sample for sample in every if not INDEX.fullmatch(sample.label)), None)
    if odd is not None:
        raise InputError(
            f"{odd.key}: label {odd.label[:40]!r}, others are whole numbers; expected one from 0 on. Mend it, or name "
            f"another member with --label."
        )
    if names is None and max(map(int, texts)) > max(MOST_GAPS * len(texts), MOST_EMPTY):
        raise InputError(
            f"label {max(map(int, texts))} among {len(texts)} different ones: most classes would have no name. Name "
            f"them all with --class-names FILE, or another member with --label."
        )
    told: dict[str, str] = {}
    for sample in every:
        if sample.class_name is not None and told.setdefault(sample.label, sample.class_name) != sample.class_name:
            raise InputError(
                f"{sample.key}: label {sample.label} is called {sample.class_name}, elsewhere {told[sample.label]}. "
                f"Name a file with --class-names."
            )
    count = len(names) if names else max(map(int, texts)) + 1
    numbered = wordnet(tuple(str(label) for label in range(count)))
    by_number = {int(text): name for text, name in told.items()}
    classes = names or [by_number.get(label, numbered[label]) for label in range(count)]
    if len(set(classes)) < len(classes):
        raise InputError("--class-names: two labels have the same name. Name a file with one class a line.")
    return tuple(classes), {text: int(text) for text in texts}


def _label(sample: Foreign, place: dict[str, int], where: str, classes: int) -> int:
    found = place.get(sample.label, classes)
    if found >= classes:
        raise InputError(
            f"{where}: {sample.key}: class {sample.label[:60]!r} is not among the {classes} of --class-names."
        )
    return found


def _ids(one: TarSet, items: Sequence[Located]) -> list[str]:
    stems = [compressed.stem(place.name) or place.name for place in one.tars]
    if len(set(stems)) < len(stems):  # of several folders
        stems = [f"{place.parent.name}/{stem}" for place, stem in zip(one.tars, stems, strict=True)]
    return tar_ids([f"{stems[item.tar]}/{item.sample.key}" for item in items])
