"""Which classes the folders of a set mean: other names, several right ones, or superclasses of a model's classes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vhs.errors import InputError, MismatchError, UsageError
from vhs.formats import regular
from vhs.formats.atomic import sha256
from vhs.formats.split import Split, right_labels, subset, with_labels
from vhs.sources.folders import imagenet

IMAGENET = "imagenet"
"""The map of the numbers 0 to 999, or of 1,000 classes in their order, to ImageNet's classes."""
OTHERS = "*"
"""The folder that stands for all that the map does not name; it has no classes, and they are left out."""
HEADS = ({"folder", "superclass", "name"}, {"class", "classes", "wnid", "wnids"})
"""First and second word of a line of titles."""
WNID = re.compile(r"n\d{8}")
KNOWN = ("imagenet-1k", "imagenet-22k")
"""Lists of WordNet ids that a class may be in."""


@dataclass(frozen=True)
class ClassMap:
    """classes: of each folder; others: whether folders that it does not name are left out; where: for messages."""

    where: str
    classes: Mapping[str, tuple[str, ...]]
    others: bool = False


def read(source: str) -> ClassMap:
    """The map of a file: lines of FOLDER,CLASS,… or JSON of {folder: class or list of classes}; or `imagenet`.

    Whole numbers are ImageNet's indices (in JSON those that are numbers, not texts). Raises InputError for what is no
    map, or a WordNet id or number that ImageNet has not.
    """
    if source == IMAGENET:
        return ClassMap(IMAGENET, {str(number): (name,) for number, name in enumerate(imagenet())})
    path = Path(source)
    found: dict[str, list[str]] = {}
    for folder, classes in _of_json(path) if path.suffix == ".json" else _of_lines(path):
        found.setdefault(folder, []).extend(_name(item, f"{path}: {folder}") for item in classes)
    others = found.pop(OTHERS, None)
    if others:
        raise InputError(f"{path}: {OTHERS} has classes; it stands for folders that are left out, and has none.")
    if not found:
        raise InputError(f"{path}: maps no folder. Expected lines of FOLDER,CLASS, or JSON of folder: class.")
    _check_wnids(path, found)
    return ClassMap(str(path), {name: tuple(dict.fromkeys(of)) for name, of in found.items()}, others is not None)


def applied(splits: Sequence[Split], found: ClassMap, *, superclasses: bool) -> list[Split]:
    """The splits with the map's classes. Of a folder with several any is right; superclasses: the folders are classes
    themselves, which stand for those. Raises InputError for a folder that is not in the map."""
    if any(split.targets for split in splits):
        raise UsageError(f"--class-map: {splits[0].name} has targets, no classes.")
    if found.where == IMAGENET:
        splits = [_by_number(split, len(found.classes)) for split in splits]
    if superclasses:
        return [_grouped(split, found) for split in splits]
    names = {name for split in splits for folder in split.classes for name in found.classes.get(folder, ())}
    classes = tuple(sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)))
    return [_renamed(split, found, classes) for split in splits]


def _by_number(split: Split, count: int) -> Split:
    """With numbers for names, where it has so many classes: on the hub ImageNet's are called `tench, Tinca tinca`."""
    return replace(split, classes=tuple(str(n) for n in range(count))) if len(split.classes) == count else split


def _renamed(split: Split, found: ClassMap, classes: tuple[str, ...]) -> Split:
    place = {name: label for label, name in enumerate(classes)}
    part = _mapped(split, found)
    labels = [
        list(dict.fromkeys(place[name] for label in of_one for name in found.classes.get(split.classes[label], ())))
        for of_one in right_labels(part)
    ]
    return with_labels(replace(part, classes=classes), labels)


def _grouped(split: Split, found: ClassMap) -> Split:
    owner: dict[str, str] = {}
    for own, members in found.classes.items():
        for name in members:
            if owner.setdefault(name, own) != own:
                raise InputError(
                    f"{found.where}: {name} belongs to {owner[name]} and to {own}; expected one superclass."
                )
        if not members:
            raise InputError(f"{found.where}: {own} has no classes; a superclass stands for one or more.")
    if split.several:
        raise UsageError(f"--superclasses: {split.name} has several right labels a sample.")
    place = {name: label for label, name in enumerate(found.classes)}
    part = _mapped(split, found)
    labels = [place[split.classes[label]] for label in part.labels]
    return replace(part, classes=tuple(found.classes), labels=labels, members_of=dict(found.classes))


def _mapped(split: Split, found: ClassMap) -> Split:
    """The samples of the folders that the map has classes for."""
    lacking = next((name for name in split.classes if name not in found.classes), None)
    if lacking is not None and not found.others:
        raise InputError(
            f"{found.where}: has no class for {lacking} of {split.name}. Add it, or leave such folders out with a line "
            f"'{OTHERS},' (JSON: \"{OTHERS}\": [])."
        )
    mapped = {label for label, name in enumerate(split.classes) if found.classes.get(name)}
    kept = [place for place, of_one in enumerate(right_labels(split)) if mapped & set(of_one)]
    if not kept:
        raise MismatchError(f"{found.where}: has classes for none of the folders of {split.name}.")
    told = repr(sorted(found.classes.items()))
    return replace(subset(split, kept), fingerprint=sha256(f"{split.fingerprint}:{told}:{kept}".encode()))


def _of_json(path: Path) -> Iterator[tuple[str, list[Any]]]:
    try:
        told = json.loads(regular.text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON: {error}.") from error
    if not isinstance(told, dict):
        raise InputError(f"{path}: expected an object of folder: class, or folder: [classes].")
    for folder, classes in told.items():
        yield folder, classes if isinstance(classes, list) else [classes]


def _of_lines(path: Path) -> Iterator[tuple[str, list[Any]]]:
    """Fields are parted by commas, tabs or, with neither in a line, the first blank."""
    for number, line in enumerate(regular.text(path).removeprefix("\ufeff").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        mark = next((mark for mark in (",", "\t") if mark in line), None)
        folder, *classes = [part.strip() for part in (line.split(mark) if mark else line.split(maxsplit=1))]
        if number == 1 and classes and {folder.lower()} <= HEADS[0] and {classes[0].lower()} <= HEADS[1]:
            continue
        if not folder or (not any(classes) and folder != OTHERS):
            raise InputError(f"{path}: line {number}: {line[:80]!r}; expected FOLDER,CLASS or FOLDER,CLASS,CLASS,….")
        yield folder, [int(name) if name.isdecimal() else name for name in classes if name]


def _name(item: Any, where: str) -> str:
    if type(item) is int:
        names = imagenet()
        if not 0 <= item < len(names):
            raise InputError(f"{where}: class {item}; whole numbers are ImageNet's indices, 0 to {len(names) - 1}.")
        return names[item]
    if not isinstance(item, str) or not item:
        raise InputError(f"{where}: class {item!r:.40}; expected a name, a WordNet id or an index.")
    return item


def _check_wnids(path: Path, found: Mapping[str, Sequence[str]]) -> None:
    wanted = {name for classes in found.values() for name in classes if WNID.fullmatch(name)}
    for known in KNOWN:
        wanted -= set(imagenet(known)) if wanted else set()
    if wanted:
        raise InputError(f"{path}: class {min(wanted)} is no WordNet id of ImageNet. Is it mistyped?")
