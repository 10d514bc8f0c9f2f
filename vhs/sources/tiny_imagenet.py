"""Tiny-ImageNet as it is unpacked: train/WNID/images/*.JPEG, and val/images/ with val_annotations.txt."""

from __future__ import annotations

from pathlib import Path

from vhs.errors import InputError
from vhs.formats import regular
from vhs.formats.split import Split
from vhs.sources.folders import split_of, split_of_paths

ANNOTATIONS = "val_annotations.txt"


def is_folder(folder: Path) -> bool:
    return (folder / "val" / ANNOTATIONS).is_file()


def splits(folder: Path) -> list[Split]:
    """train where it is there, and val; classes are the WordNet ids of wnids.txt, sorted. test has no labels."""
    name = folder.resolve().name
    classes = _classes(folder)
    found = []
    if (folder / "train").is_dir():
        train = split_of(folder / "train", name, "train")
        if train.classes != classes:
            odd = sorted(set(train.classes) ^ set(classes))[0]
            raise InputError(f"{folder / 'train'}: its class folders differ from wnids.txt ({odd}).")
        found.append(train)
    return [*found, _validation(folder / "val", name, classes)]


def _classes(folder: Path) -> tuple[str, ...]:
    path = folder / "wnids.txt"
    if not path.exists():
        raise InputError(f"{path}: is missing; it lists the classes. Unpack the archive whole.")
    return tuple(sorted(regular.text(path).split()))


def _validation(folder: Path, name: str, classes: tuple[str, ...]) -> Split:
    place = {wnid: label for label, wnid in enumerate(classes)}
    relative, labels = [], []
    for number, line in enumerate(regular.text(folder / ANNOTATIONS).splitlines(), start=1):
        image, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in place:
            raise InputError(f"{folder / ANNOTATIONS}: line {number}: class {wnid!r} is not in wnids.txt.")
        relative.append(Path("images") / Path(image).name)
        labels.append(place[wnid])
    return split_of_paths(folder, relative, labels, classes, name=name, split="val")
