"""A labelled split of images, as sources make it and the shard writer packs it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vhs.errors import InputError, UsageError, choices
from vhs.formats.atomic import sha256
from vhs.formats.images import encode_png
from vhs.formats.places import Place
from vhs.formats.tar import Member
from vhs.seeds import sample_keys

MAX_KEY = 90
MAX_CLASSES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Split:
    """ids: unique sample ids; labels: index into classes, one an id; encoded: position -> image bytes.

    several: of samples with more than one right label all of an id's, in the order of ids, `labels` being the first of
    each; empty where every sample has one. members_of: class -> classes of a model that it stands for.
    fingerprint: stands for the source's content, so that an interrupted run is continued only on it.
    folder: where below OUT it goes, when a source has several; its split's name by default.
    targets: name -> a number for every id, instead of classes.
    attributes: name -> a text for every id, by which samples are grouped.
    base: name and hash of the set it is a shifted version of; version_of: the folder of that set, where it is made
    together with it; extra: more for the manifest. members: suffix -> position -> bytes of further files of a sample;
    regions: names of the values of `regions.png`, from 0 on. tars: those of others that the images lie in; lies: for
    each id the number of its tar, and where in it; names: what tables call the samples, where that is not their ids.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    ids: Sequence[str]
    labels: Sequence[int]
    encoded: Callable[[int], bytes]
    channels: int
    fingerprint: str
    source: str = ""
    licence: str = ""
    folder: str = ""
    several: Sequence[tuple[int, ...]] = ()
    members_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    targets: Mapping[str, Sequence[float]] = field(default_factory=dict)
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    base: dict[str, str] | None = None
    version_of: str = ""
    members: Mapping[str, Callable[[int], bytes]] = field(default_factory=dict)
    regions: tuple[str, ...] = ()
    tars: tuple[Place, ...] = ()
    lies: Sequence[tuple[int, Member]] = ()
    names: Sequence[str] = ()
    extra: dict[str, Any] = field(default_factory=dict)


def from_arrays(
    images: np.ndarray, labels: np.ndarray, *, name: str, split: str, classes: Sequence[str], prefix: str,
    indices: np.ndarray | None = None, source: str = "", licence: str = "",
) -> Split:  # fmt: skip
    """A split of uint8 arrays [N, H, W] or [N, H, W, 1 or 3]; ids are `prefix-index` in the source's file."""
    if len(images) != len(labels):
        raise InputError(f"{source or name}: {len(images)} images and {len(labels)} labels; expected as many.")
    pixels = images[..., None] if images.ndim == 3 else images
    if not all(pixels.shape[1:]):
        raise InputError(f"{source or name}: images of {pixels.shape[1]}x{pixels.shape[2]} px; expected 1 px or more.")
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data)
    digest.update(np.ascontiguousarray(labels, np.int64).data)
    order = np.arange(len(labels)) if indices is None else indices
    digits = max(5, len(str(int(order.max(initial=0)))))
    return Split(
        name=name, split=split, classes=tuple(classes), labels=labels.astype(int).tolist(), channels=pixels.shape[-1],
        ids=[f"{prefix}-{index:0{digits}d}" for index in order.tolist()],
        encoded=lambda position: encode_png(pixels[position]),
        fingerprint=digest.hexdigest(), source=source, licence=licence,
    )  # fmt: skip


def with_labels(split: Split, labels: Sequence[Sequence[int]]) -> Split:
    """The split with these right labels of each sample, one or more."""
    several = tuple(tuple(of_one) for of_one in labels) if any(len(of_one) > 1 for of_one in labels) else ()
    return replace(split, labels=[of_one[0] for of_one in labels], several=several)


def right_labels(split: Split) -> list[tuple[int, ...]]:
    """All right labels of each sample."""
    return list(split.several) or [(label,) for label in split.labels]


def select(split: Split, classes: Sequence[str] | None, per_class: int | None) -> Split:
    """The samples of `classes`, which become the class list in that order, and at most `per_class` of each.

    Which ones is decided by the hash of the sample id, so that a larger number contains a smaller one. Of several
    labels those of `classes` are kept; a sample belongs to the first of them.
    Raises UsageError for a class that is not there.
    """
    if classes is None and per_class is None:
        return split
    if not split.classes:
        raise UsageError(f"--classes and --per-class: {split.name} has targets, no classes.")
    names = tuple(classes) if classes is not None else split.classes
    unknown = [name for name in names if name not in split.classes]
    if unknown or len(set(names)) < len(names):
        why = f"{unknown[0]}: is not among" if unknown else "names one class twice of"
        raise UsageError(f"--classes {why} the {len(split.classes)} of {split.name}: {choices(split.classes[:8])}.")
    place = {split.classes.index(name): label for label, name in enumerate(names)}
    labels = [[place[label] for label in of_one if label in place] for of_one in right_labels(split)]
    kept = [position for position, of_one in enumerate(labels) if of_one]
    if per_class is not None:
        kept = _first_of_each(split, kept, [labels[i][0] for i in kept], per_class)
    chosen = replace(
        subset(split, kept), classes=names, fingerprint=sha256(f"{split.fingerprint}:{kept}".encode()),
        members_of={name: members for name, members in split.members_of.items() if name in names},
    )  # fmt: skip
    return with_labels(chosen, [labels[i] for i in kept])


def subset(split: Split, kept: Sequence[int]) -> Split:
    """The samples at these positions. Its fingerprint is still that of the whole: the caller says what was chosen."""
    return replace(
        split, ids=[split.ids[i] for i in kept], labels=[split.labels[i] for i in kept],
        several=tuple(split.several[i] for i in kept) if split.several else (),
        encoded=partial(_at, split.encoded, kept), lies=[split.lies[i] for i in kept] if split.lies else (),
        names=[split.names[i] for i in kept] if split.names else (),
        members={name: partial(_at, made, kept) for name, made in split.members.items()},
        attributes={name: [values[i] for i in kept] for name, values in split.attributes.items()},
        targets={name: [values[i] for i in kept] for name, values in split.targets.items()},
    )  # fmt: skip


def _at(made: Callable[[int], bytes], kept: Sequence[int], position: int) -> bytes:
    return made(kept[position])


def _first_of_each(split: Split, kept: list[int], chosen: list[int], per_class: int) -> list[int]:
    """chosen: the labels of the kept ones."""
    keys = sample_keys([split.ids[i] for i in kept])
    labels = np.array(chosen)
    order = np.lexsort((keys, labels))
    starts = np.r_[0, np.flatnonzero(np.diff(labels[order])) + 1]
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    return sorted(kept[i] for i in order[rank < per_class].tolist())


def target_stats(split: Split) -> dict[str, tuple[float, float]]:
    """Mean and deviation of each target, by which it is standardised."""
    numbers = {name: np.array(values, float) for name, values in split.targets.items()}
    return {name: (float(values.mean()), float(values.std()) or 1.0) for name, values in numbers.items()}


def train_shares(splits: Iterable[tuple[str, Mapping[str, Sequence[str]]]]) -> dict[str, dict[str, int]]:
    """How many training samples each value of each attribute has. splits: names of splits with attributes."""
    return {name: dict(Counter(of)) for split, own in splits if split == "train" for name, of in own.items()}


def check_texts(split: Split) -> None:
    """Raises InputError for a name that is not UTF-8, as a file name may be: tables and manifests could not hold it."""
    values = (value for column in split.attributes.values() for value in column)
    for text in (split.name, split.source, split.folder, *split.classes, *split.attributes, *values):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"{text!r}: is a name that is not UTF-8. Rename it.") from None


def class_names(labels: np.ndarray, where: str) -> tuple[str, ...]:
    """`0`, `1`, … up to the largest label; refuses labels that are no class indices."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or (len(labels) and labels.min() < 0):
        raise InputError(f"{where}: labels of type {labels.dtype} and shape {labels.shape}; expected class indices.")
    largest = int(labels.astype(np.int64).max(initial=-1))
    if largest >= MAX_CLASSES:
        raise InputError(f"{where}: label {largest}; expected class indices below {MAX_CLASSES}.")
    return tuple(str(index) for index in range(largest + 1))


def sample_ids(paths: Sequence[Path]) -> list[str]:
    """Ids of image files: their stems where those differ, else the path with `__` for each folder.

    The same rule gives the same ids for a clean folder and a corrupted copy of it.
    """
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else ["__".join(path.with_suffix("").parts) for path in paths]
    ids = [sample_key(name) for name in names]
    if len(set(ids)) < len(ids):
        twice = next(name for position, name in enumerate(ids) if name in ids[:position])
        raise InputError(f"two images would get the sample id {twice!r}. Rename one of them.")
    return ids


def tar_ids(names: Sequence[str]) -> list[str]:
    """Ids of samples of tars that others wrote, `TAR/KEY`: each part as safe as the key of a tar member is."""
    ids = ["/".join(re.sub(r"[^A-Za-z0-9_-]", "_", part) for part in name.split("/") if part != ".") for name in names]
    ids = _apart(ids, names)
    ids = [
        found if len(found) <= MAX_KEY else f"{found[: MAX_KEY - 17]}-{sha256(found.encode())[:16]}" for found in ids
    ]
    if len(set(ids)) < len(ids):
        twice, _ = Counter(ids).most_common(1)[0]
        raise InputError(f"two samples would get the id {twice!r}; a key stands twice in one tar. Rename one of them.")
    return ids


def _apart(ids: Sequence[str], names: Sequence[str]) -> list[str]:
    """Ids that several names share get the start of a hash of the name."""
    counts = Counter(ids)
    return [
        found if counts[found] == 1 else f"{found}-{sha256(name.encode('utf-8', 'surrogateescape'))[:16]}"
        for found, name in zip(ids, names, strict=True)
    ]


def sample_key(name: str) -> str:
    """A name that is safe as the key of a tar member: no dots, no separators, at most 90 characters."""
    key = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return key if len(key) <= MAX_KEY else f"{key[: MAX_KEY - 17]}-{sha256(name.encode())[:16]}"
