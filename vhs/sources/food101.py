"""Food-101 as it is unpacked, by torchvision too: food-101/images/CLASS/ID.jpg and meta/ (Bossard et al. 2014)."""

from __future__ import annotations

from pathlib import Path

from vhs.errors import InputError
from vhs.formats import regular
from vhs.formats.split import Split
from vhs.sources import published
from vhs.sources.folders import split_of_paths

FOLDER = "food-101"
LISTS = {"train": "meta/train.txt", "val": "meta/test.txt"}
"""By split; the published test images are val."""
CLASSES = "meta/classes.txt"


def is_folder(folder: Path) -> bool:
    """Whether `folder`, or the `food-101` in it, has images/ and the list of classes."""
    at = published.place(folder, FOLDER, (CLASSES,))
    return at is not None and (at / "images").is_dir()


def splits(folder: Path) -> list[Split]:
    """train and val, classes in the order of meta/classes.txt; ids are those of the files."""
    at = published.checked(folder, FOLDER, (CLASSES, "images"), ("images", CLASSES, *LISTS.values()))
    classes = tuple(regular.text(at / CLASSES).split())
    return [_split(at, split, at / name, classes) for split, name in LISTS.items()]


def _split(at: Path, split: str, path: Path, classes: tuple[str, ...]) -> Split:
    place = {name: label for label, name in enumerate(classes)}
    relative, labels = [], []
    for number, line in enumerate(regular.text(path).split(), start=1):
        name, _, image = line.partition("/")
        if name not in place or not image or "/" in image or image.startswith("."):
            raise InputError(f"{path}: line {number}: {line!r:.80}; expected CLASS/ID with a class of {CLASSES}.")
        relative.append(Path("images") / name / f"{image}.jpg")
        labels.append(place[name])
    if not relative:
        raise InputError(f"{path}: lists no image.")
    return split_of_paths(at, relative, labels, classes, name=FOLDER, split=split)
