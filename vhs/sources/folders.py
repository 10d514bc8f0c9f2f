"""Class folders: `CLASS/IMAGE`, or `SPLIT/CLASS/IMAGE` with train, val or test as the split.

ImageNet and its relatives (-R, -A, -Sketch) name their folders by WordNet id, and so name their classes.
ImageNet-V2 numbers them 0 to 999: these are ImageNet's classes in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from PIL import Image

from vhs.errors import InputError
from vhs.formats import regular
from vhs.formats.atomic import sha256
from vhs.formats.images import GREY, SUFFIXES
from vhs.formats.split import Split, sample_ids

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
IMAGENET_CLASSES = 1000
MOST = 1 << 30
"""Bytes of an image."""
DEEPEST = 8
"""Folders that are followed down in search of classes."""
PROBED = 100
"""Images looked at to tell a grey set from a coloured one; a coloured one that comes later has it written anew."""


def has_splits(folder: Path) -> bool:
    """Whether `folder` holds folders called train, val or test."""
    return any((folder / name).is_dir() for name in SPLITS)


def is_folder(folder: Path) -> bool:
    """Whether there are folders in it, which may be classes."""
    return any(item.is_dir() for item in folder.iterdir())


def splits(folder: Path) -> list[Split]:
    """One split for each split folder, or a single one, `val`, when the classes lie directly in `folder`."""
    named = {name: folder / name for name in SPLITS if (folder / name).is_dir()}
    if named:
        return [split_of(path, folder.resolve().name, SPLITS[name]) for name, path in named.items()]
    return [split_of(folder, folder.resolve().name, "val")]


def split_of(folder: Path, name: str, split: str) -> Split:
    """The images of CLASS/IMAGE in `folder`, ids by `sample_ids`."""
    classes = _class_folders(folder)
    _check_depth(folder, classes)
    paths: list[Path] = []
    labels: list[int] = []
    for label, class_folder in enumerate(classes):
        images = sorted(path for path in class_folder.rglob("*") if path.suffix[1:].lower() in SUFFIXES)
        paths += images
        labels += [label] * len(images)
    if not paths:
        raise InputError(f"{folder}: holds no images in class folders (CLASS/IMAGE.png, .jpg or .webp).")
    relative = [path.relative_to(folder) for path in paths]
    names = tuple(path.name for path in classes)
    return split_of_paths(folder, relative, labels, wordnet(names), name=name, split=split)


def _check_depth(folder: Path, classes: Sequence[Path]) -> None:
    """Raises InputError where the only class holds no images but folders of folders: the classes lie deeper."""
    if len(classes) != 1:
        return
    place, deep = classes[0], 0
    while len(below := _below(place)) == 1 and deep < DEEPEST:
        place, deep = place / below[0], deep + 1
    if len(below) > 1 or deep > 1:
        raise InputError(
            f"{folder}: holds only the folder {classes[0].name}, and that only folders, down to {place}. Name the "
            f"folder that holds the classes: {place if below else place.parent}?"
        )


def _below(folder: Path) -> list[str]:
    """The folders in a folder without images; none where there are images."""
    held = list(folder.iterdir())
    if any(path.suffix[1:].lower() in SUFFIXES for path in held):
        return []
    return sorted(path.name for path in held if path.is_dir() and not path.name.startswith("."))


def wordnet(names: tuple[str, ...]) -> tuple[str, ...]:
    """ImageNet's ids for folders 0 to 999, other names as they are."""
    return imagenet() if names == tuple(str(number) for number in range(IMAGENET_CLASSES)) else names


@lru_cache(maxsize=2)
def imagenet(known: str = "imagenet-1k") -> tuple[str, ...]:
    """The WordNet ids of ImageNet's classes in their order, or of another list that timm has."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo(known).label_names())


def split_of_paths(
    folder: Path, relative: Sequence[Path], labels: Sequence[int], classes: tuple[str, ...], *, name: str, split: str,
    attributes: Mapping[str, Sequence[str]] | None = None,
) -> Split:  # fmt: skip
    """A split of the images at `relative` below `folder`, ids by `sample_ids`. Raises InputError for a missing one."""
    paths = [folder / path for path in relative]
    try:
        sizes = [
            f"{place}:{(status := path.stat()).st_size}:{status.st_mtime_ns}"
            for place, path in zip(relative, paths, strict=True)
        ]
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}. Is the set complete?") from error
    except ValueError as error:  # a NUL in a name
        raise InputError(f"{folder}: a file name cannot be: {error}.") from error
    probed = [partial(Image.open, path) for path in paths[:PROBED] if path.is_file()]  # a FIFO would wait
    return Split(
        name=name, split=split, classes=classes, ids=sample_ids(relative), labels=labels,
        encoded=lambda position: regular.read(paths[position], MOST), channels=channels_of(probed),
        fingerprint=sha256("\n".join(sizes).encode("utf-8", "surrogateescape")), source=folder.name,
        attributes=attributes or {},
    )  # fmt: skip


def _class_folders(folder: Path) -> list[Path]:
    """By name; by number where all names are numbers, because "10" sorts before "2"."""
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if all(path.name.isdigit() for path in found):
        found.sort(key=lambda path: int(path.name))
    return found


def channels_of(opened: Sequence[Callable[[], Image.Image]]) -> int:
    """1 when every image looked at is grey, else 3."""
    modes = set()
    for open_image in opened:
        try:
            with open_image() as image:
                modes.add(image.mode)
        except (InputError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue  # the writer names it when its turn comes
    return 1 if modes and modes <= set(GREY) else 3
