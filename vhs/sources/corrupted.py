"""Stored corruptions: trees of ImageNet-C, Tiny-ImageNet-C and ImageNet-C-bar, arrays of CIFAR-10-C, CIFAR-100-C and
CIFAR-10-C-bar.

Every corruption at every severity becomes a set of its own, in OUT/CORRUPTION/SEVERITY.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats.split import Split, class_names, from_arrays
from vhs.shifts.kinds import CIFAR_C_BAR, CORRUPTIONS, IMAGENET_C_BAR
from vhs.shifts.names import CORRUPTION_NAMES, FAMILIES, SEVERITIES, STORED_NAMES
from vhs.sources import folders, numpy_files

LABELS = "labels.npy"
IMAGENET_SIDE = 224
"""px, of ImageNet-C-bar."""


def is_tree(folder: Path) -> bool:
    """Whether `folder` holds CORRUPTION/SEVERITY folders."""
    return any((folder / name / _severity_folder(name, 1)).is_dir() for name in STORED_NAMES)


def _severity_folder(name: str, severity: int) -> str:
    """1 to 5; ImageNet-C-bar's are called by the strength, 0.80."""
    strengths = CORRUPTIONS[name].strengths
    if name in CORRUPTION_NAMES or IMAGENET_SIDE not in strengths:
        return str(severity)
    return f"{strengths[IMAGENET_SIDE][severity - 1]:.2f}"


def tree_splits(folder: Path) -> list[Split]:
    """CORRUPTION/SEVERITY/CLASS/IMAGE: any of the archives of ImageNet-C, Tiny-ImageNet-C or ImageNet-C-bar."""
    found = list(_tree(folder))
    classes = found[0].classes
    for split in found:
        if split.classes != classes:
            unlike = sorted(set(split.classes) ^ set(classes))[:3]
            raise InputError(
                f"{folder / split.folder}: its class folders differ from the others' ({', '.join(unlike)})."
            )
    return found


def _tree(folder: Path) -> Iterator[Split]:
    for name in STORED_NAMES:
        if not (folder / name).is_dir():
            continue
        called = [_severity_folder(name, severity) for severity in SEVERITIES]
        for severity, place in zip(SEVERITIES, called, strict=True):
            part = folder / name / place
            if not part.is_dir():
                span = f"{called[0]} to {called[-1]}"
                raise InputError(f"{part}: is missing; severities {span} were expected. Unpack the archive whole.")
            split = folders.split_of(part, folder.resolve().name, "val")
            yield _with_names(split, name, severity, IMAGENET_C_BAR)


def is_arrays(folder: Path) -> bool:
    """Whether `folder` holds `labels.npy` and arrays named after corruptions."""
    return (folder / LABELS).is_file() and any((folder / f"{name}.npy").is_file() for name in STORED_NAMES)


def array_splits(folder: Path) -> list[Split]:
    """`labels.npy` and CORRUPTION.npy, uint8 [5 N, H, W, 3]: N images at severity 1, then at 2, to 5.

    Sample ids are those of the clean test images read from an .npz archive: x-test-00000 and on.
    """
    labels = numpy_files.array(folder / LABELS)
    count, rest = divmod(len(labels), len(SEVERITIES))
    if rest or any((labels[:count] != labels[i * count : (i + 1) * count]).any() for i in range(1, 5)):
        raise InputError(
            f"{folder / LABELS}: {len(labels)} labels; expected the same N five times, one for a severity."
        )
    classes = class_names(labels, str(folder / LABELS))
    splits = []
    for name in STORED_NAMES:
        path = folder / f"{name}.npy"
        if path.is_file():
            images = _images(path, len(labels))
            splits += [_of_arrays(folder, classes, labels, images, name, severity) for severity in SEVERITIES]
    return splits


def _of_arrays(
    folder: Path, classes: tuple[str, ...], labels: np.ndarray, images: np.ndarray, name: str, severity: int
) -> Split:
    count = len(labels) // len(SEVERITIES)
    part = slice((severity - 1) * count, severity * count)
    split = from_arrays(
        images[part], labels[part], name=folder.resolve().name, split="val", classes=classes, prefix="x-test",
        source=folder.resolve().name,
    )  # fmt: skip
    return _with_names(split, name, severity, CIFAR_C_BAR)


def _with_names(split: Split, name: str, severity: int, family: str) -> Split:
    """family: of C-bar, for a corruption that both have."""
    told: dict[str, object] = {"name": name, "severity": severity}
    if name in FAMILIES[family]:
        told["family"] = family
    return replace(split, folder=f"{name}/{severity}", extra={"corruption": told})


def _images(path: Path, count: int) -> np.ndarray:
    images = numpy_files.array(path)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(f"{path}: is {images.dtype} {images.shape}; expected uint8 [5 N, H, W, 3], RGB.")
    if len(images) != count:
        raise InputError(f"{path}: {len(images)} images, {LABELS} has {count} labels; expected as many.")
    return images
