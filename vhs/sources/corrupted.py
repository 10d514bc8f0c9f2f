"""Stored corruptions: trees such as ImageNet-C, Tiny-ImageNet-C, ImageNet-3DCC, ImageNet-C-bar and LAION-C, and arrays
such as CIFAR-10-C and CIFAR-10-C-bar.

Every corruption at every severity becomes a set of its own, in OUT/CORRUPTION/SEVERITY.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vhs.errors import InputError
from vhs.formats.split import Split, class_names, from_arrays
from vhs.shifts.kinds import CIFAR_C_BAR, IMAGENET_C_BAR
from vhs.shifts.names import FAMILIES, SEVERITIES, STORED_NAMES
from vhs.shifts.published import category_of
from vhs.sources import folders, numpy_files

LABELS = "labels.npy"
WHOLE, DECIMAL = re.compile(r"[1-9]\d{0,5}"), re.compile(r"\d{1,4}\.\d{1,4}")
"""Severities as folders are called: 3, or a strength such as 2.50, as ImageNet-C-bar has them."""
PLAIN = ("images", "image", "data", "x")
"""Arrays of these names are no corruptions."""
LOOKED_AT = 3
"""Folders looked into to tell that a tree lies one level deeper."""


def is_tree(folder: Path) -> bool:
    """Whether `folder` holds CORRUPTION/SEVERITY folders: of published names, or nothing but such of shared classes."""
    if any((folder / name / "1").is_dir() for name in STORED_NAMES):
        return True
    if folders.has_splits(folder):
        return False
    shared: set[str] | None = None
    for name in _folders(folder):  # the first that is no corruption ends it: there may be a thousand class folders
        found = _first_classes(folder / name)
        shared = found if shared is None else shared & found
        if not shared:
            return False
    return bool(shared)


def tree_splits(folder: Path) -> list[Split]:
    """CORRUPTION/SEVERITY/CLASS/IMAGE, in the published order, then by name; severities as they are found."""
    found = list(_tree(folder))
    if not found:
        raise InputError(f"{folder}: holds no folders; expected CORRUPTION/SEVERITY/CLASS/IMAGE.")
    classes = found[0].classes
    for split in found:
        if split.classes != classes:
            unlike = sorted(set(split.classes) ^ set(classes))[:3]
            raise InputError(
                f"{folder / split.folder}: its class folders differ from the others' ({', '.join(unlike)})."
            )
    return found


def unlike(found: Sequence[Split]) -> str | None:
    """In words, what is missing of some corruptions and not of others: severities, or images; None where nothing is."""
    stored = [part for part in found if "corruption" in part.extra]
    severities: dict[str, list[int]] = {}
    for part in stored:
        told = part.extra["corruption"]
        severities.setdefault(told["name"], []).append(told["severity"])
    every = sorted(set().union(*severities.values())) if stored else []
    for name, held in severities.items():
        if sorted(held) != every:
            lacking = ", ".join(str(severity) for severity in every if severity not in held)
            return f"{name} has no severity {lacking}, others have"
    most = max(stored, key=lambda part: len(part.ids), default=None)
    whole = set(most.ids) if most else set()
    for part in stored:
        if most and set(part.ids) != whole:
            return f"{part.folder} has {len(part.ids):,} images, {most.folder} {len(whole):,}, and not the same ones"
    return None


def check_depth(folder: Path) -> None:
    """Raises InputError for a folder that holds severities, or trees: one level too deep, or not deep enough."""
    held = _folders(folder)
    if len(held) > 1 and set(held) <= {str(severity) for severity in SEVERITIES}:
        raise InputError(
            f"{folder}: holds severities ({', '.join(held)}), so it seems to be one corruption. Name the folder around "
            f"it, or say what it is with --layout."
        )
    deeper = next((name for name in islice(held, LOOKED_AT) if is_tree(folder / name)), None)
    if deeper is not None:
        raise InputError(
            f"{folder}: holds a tree of corruptions in {deeper}, one level too deep. Name {folder / deeper}, or say "
            f"what it is with --layout."
        )


def _tree(folder: Path) -> Iterator[Split]:
    held = _folders(folder)
    known = [name for name in STORED_NAMES if name in held]
    others = [name for name in held if name not in known and (not known or _first_classes(folder / name))]
    _check_strengths(folder, (*known, *others))
    for name in (*known, *others):
        for place, severity, strength in _severities(folder / name, complete=name in known):
            split = folders.split_of(folder / name / place, folder.resolve().name, "val")
            yield _with_names(split, name, severity, family=IMAGENET_C_BAR, strength=strength)


def _check_strengths(folder: Path, names: Sequence[str]) -> None:
    """Raises InputError where corruptions have unlike numbers of strengths: their places would say another severity."""
    counts = {name: len(held) for name in names if any(map(DECIMAL.fullmatch, held := _folders(folder / name)))}
    most = max(counts.values(), default=0)
    short = next((name for name, count in counts.items() if count < most), None)
    if short is not None:
        raise InputError(
            f"{folder / short}: has {counts[short]} strengths, others {most}; as many were expected. Unpack the "
            f"archive whole."
        )


def _severities(folder: Path, *, complete: bool) -> list[tuple[str, int, str | None]]:
    """(folder, severity, strength) of one corruption. Folders called by strengths have their place by size as severity.

    complete: whether severities 1 to 5 are expected.
    """
    held = _folders(folder)
    if complete and not any(DECIMAL.fullmatch(name) for name in held):
        missing = next((severity for severity in SEVERITIES if str(severity) not in held), None)
        if missing is not None:
            raise InputError(
                f"{folder / str(missing)}: is missing; severities 1 to 5 were expected. Unpack the archive whole."
            )
        return [(str(severity), severity, None) for severity in SEVERITIES]
    odd = next((name for name in held if not WHOLE.fullmatch(name) and not DECIMAL.fullmatch(name)), None)
    if odd is not None or not held:
        why = "holds no folders" if odd is None else f"holds {odd}"
        raise InputError(f"{folder}: {why}; expected CORRUPTION/SEVERITY/CLASS/IMAGE with numbers as severities.")
    ordered = sorted(held, key=float)
    if all(WHOLE.fullmatch(name) for name in held):
        return [(name, int(name), None) for name in ordered]
    if complete and len(held) != len(SEVERITIES):
        raise InputError(f"{folder}: holds severities {', '.join(ordered)}; 5 were expected. Unpack the archive whole.")
    return [(name, place, name) for place, name in enumerate(ordered, start=1)]


def _first_classes(corruption: Path) -> set[str]:
    """The class folders of a corruption's first severity; none where it is no corruption."""
    held = _folders(corruption)
    if not held or not all(WHOLE.fullmatch(name) or DECIMAL.fullmatch(name) for name in held):
        return set()
    return set(_folders(corruption / min(held, key=float)))


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def is_arrays(folder: Path) -> bool:
    """Whether `folder` holds `labels.npy` and arrays named after corruptions."""
    if not (folder / LABELS).is_file():
        return False
    if any((folder / f"{name}.npy").is_file() for name in STORED_NAMES):
        return True
    return any(path.stem.lower() not in PLAIN for path in _arrays(folder))


def array_splits(folder: Path) -> list[Split]:
    """`labels.npy` and CORRUPTION.npy, uint8 [5 N, H, W, 3]: N images at severity 1, then at 2, to 5.

    Sample ids are those of the clean test images read from an .npz archive: x-test-00000 and on. Labels that stand
    there once are those of every severity, however many there are.
    """
    stored = numpy_files.array(folder / LABELS)
    paths = _arrays(folder)
    count = _images_a_severity(folder, stored, paths)
    labels = stored[:count]
    classes = class_names(np.asarray(stored), str(folder / LABELS))
    splits = []
    for path in paths:
        images = _images(path, len(stored), count)
        for start in range(0, len(images), count):
            split = from_arrays(
                images[start : start + count], labels, name=folder.resolve().name, split="val", classes=classes,
                prefix="x-test", source=folder.resolve().name,
            )  # fmt: skip
            splits.append(_with_names(split, path.stem, start // count + 1, family=CIFAR_C_BAR))
    return splits


def _arrays(folder: Path) -> list[Path]:
    """The arrays beside the labels, in the published order, then by name."""
    found = {path.stem: path for path in sorted(folder.glob("*.npy")) if path.name != LABELS}
    return [found.pop(name) for name in STORED_NAMES if name in found] + list(found.values())


def _images_a_severity(folder: Path, labels: np.ndarray, paths: list[Path]) -> int:
    """How many images each severity has. Raises InputError for labels that do not say."""
    severities = len(SEVERITIES)
    count, rest = divmod(len(labels), severities)
    if count and not rest and all((labels[:count] == labels[i * count : (i + 1) * count]).all() for i in range(1, 5)):
        return count
    images = len(numpy_files.array(paths[0])) if paths else 0
    if len(labels) and images > len(labels) and not images % len(labels):
        return len(labels)
    raise InputError(
        f"{folder / LABELS}: {len(labels)} labels; expected the same N five times, one for a severity, or N once."
    )


def _with_names(split: Split, name: str, severity: int, *, family: str, strength: str | None = None) -> Split:
    """family: of C-bar, for a corruption that it has; some are in two."""
    told: dict[str, Any] = {"name": name, "severity": severity}
    told |= {"family": family} if name in FAMILIES[family] else {}
    told |= {} if name in STORED_NAMES else {"category": category_of(name)}
    told |= {} if strength is None else {"strength": strength}
    return replace(split, folder=f"{name}/{severity}", extra={"corruption": told})


def _images(path: Path, labels: int, count: int) -> np.ndarray:
    images = numpy_files.array(path)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise InputError(f"{path}: is {images.dtype} {images.shape}; expected uint8 [5 N, H, W, 3], RGB.")
    if len(images) != labels and (labels != count or not len(images) or len(images) % count):
        raise InputError(f"{path}: {len(images)} images, {LABELS} has {labels} labels; expected as many.")
    return images
