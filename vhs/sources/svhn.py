"""Street View House Numbers, cropped digits (format 2): train_32x32.mat, test_32x32.mat, extra_32x32.mat.

Netzer et al. 2011. X is uint8 [32, 32, 3, N], y [N, 1] in 1 to 10, where 10 means the digit 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats.split import Split, from_arrays
from vhs.sources import matlab

FILES = {"train": "train_32x32.mat", "val": "test_32x32.mat", "extra": "extra_32x32.mat"}
"""By split; the published test images are val."""
SIDE, DIGITS = 32, 10


def is_folder(folder: Path) -> bool:
    """Whether `folder` holds one of the three files."""
    return any((folder / name).is_file() for name in FILES.values())


def splits(folder: Path) -> list[Split]:
    """A split for each file that is there; classes are the digits 0 to 9, ids x-train-00000, x-test-…, x-extra-…."""
    found = {split: folder / name for split, name in FILES.items() if (folder / name).exists()}
    if not found:
        raise InputError(f"{folder}: holds none of {', '.join(FILES.values())}. Name the folder with these files.")
    return [_split(path, split) for split, path in found.items()]


def _split(path: Path, split: str) -> Split:
    held = matlab.arrays(path, ("X", "y"))
    images, labels = held["X"], held["y"].ravel()
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (SIDE, SIDE, 3):
        raise InputError(f"{path}: X is {images.dtype} {images.shape}; expected uint8 ({SIDE}, {SIDE}, 3, N).")
    if len(labels) != images.shape[-1] or not np.isin(labels, np.arange(1, DIGITS + 1)).all():
        raise InputError(f"{path}: y has {len(labels)} values; expected 1 to {DIGITS} for {images.shape[-1]} images.")
    return from_arrays(
        np.ascontiguousarray(images.transpose(3, 0, 1, 2)), labels.astype(int) % DIGITS, name="svhn", split=split,
        classes=[str(digit) for digit in range(DIGITS)], prefix=f"x-{path.stem.partition('_')[0]}",
        source="SVHN cropped digits, Netzer et al. 2011", licence="non-commercial use only",
    )  # fmt: skip
