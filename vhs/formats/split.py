"""A labelled split of images, as sources make it and the shard writer packs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vhs.errors import InputError
from vhs.formats.atomic import sha256
from vhs.formats.images import encode_png

MAX_KEY = 90
MAX_CLASSES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Split:
    """ids: unique sample ids; labels: index into classes, one an id; encoded: position -> image bytes.

    fingerprint: stands for the source's content, so that an interrupted run is continued only on it.
    folder: where below OUT it goes, when a source has several; its split's name by default.
    base: name and hash of the set it is a shifted version of; extra: more for the manifest.
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
    base: dict[str, str] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def from_arrays(
    images: np.ndarray, labels: np.ndarray, *, name: str, split: str, classes: Sequence[str], prefix: str,
    indices: np.ndarray | None = None, source: str = "", licence: str = "",
) -> Split:  # fmt: skip
    """A split of uint8 arrays [N, H, W] or [N, H, W, 1 or 3]; ids are `prefix-index` in the source's file."""
    if len(images) != len(labels):
        raise InputError(f"{source or name}: {len(images)} images and {len(labels)} labels; expected as many.")
    pixels = images[..., None] if images.ndim == 3 else images
    order = np.arange(len(labels)) if indices is None else indices
    digits = max(5, len(str(int(order.max(initial=0)))))
    return Split(
        name=name, split=split, classes=tuple(classes), labels=labels.astype(int).tolist(), channels=pixels.shape[-1],
        ids=[f"{prefix}-{index:0{digits}d}" for index in order.tolist()],
        encoded=lambda position: encode_png(pixels[position]),
        fingerprint=sha256(pixels.tobytes() + labels.astype(np.int64).tobytes()), source=source, licence=licence,
    )  # fmt: skip


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
    ids = [_key(name) for name in names]
    if len(set(ids)) < len(ids):
        twice = next(name for position, name in enumerate(ids) if name in ids[:position])
        raise InputError(f"two images would get the sample id {twice!r}. Rename one of them.")
    return ids


def _key(name: str) -> str:
    """A name that is safe as the key of a tar member: no dots, no separators, at most 90 characters."""
    key = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return key if len(key) <= MAX_KEY else f"{key[: MAX_KEY - 17]}-{sha256(name.encode())[:16]}"
