"""STL-10 as its binary archive unpacks: stl10_binary/train_X.bin, train_y.bin, test_X.bin, test_y.bin, class_names.txt.

Coates et al. 2011. An image is 3 x 96 x 96 bytes, a plane a colour, each column by column; labels are bytes from 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats import regular
from vhs.formats.split import Split, from_arrays
from vhs.sources import published

FOLDER, NAMES = "stl10_binary", "class_names.txt"
FILES = {"train": ("train_X.bin", "train_y.bin"), "val": ("test_X.bin", "test_y.bin")}
"""By split; the published test images are val. unlabeled_X.bin and fold_indices.txt are not read."""
SIDE = 96
BYTES = 3 * SIDE * SIDE


def is_folder(folder: Path) -> bool:
    """Whether `folder`, or the `stl10_binary` in it, holds images of STL-10."""
    return published.place(folder, FOLDER, [images for images, _ in FILES.values()]) is not None


def splits(folder: Path) -> list[Split]:
    """train and val, 96 x 96 RGB, those of which the files are there."""
    marks = [images for images, _ in FILES.values()]
    at = published.checked(folder, FOLDER, marks, (NAMES,))
    classes = regular.text(at / NAMES).split()
    there = {split: files for split, files in FILES.items() if any((at / name).exists() for name in files)}
    return [_split(at, split, files, classes) for split, files in there.items()]


def _split(at: Path, split: str, files: tuple[str, str], classes: list[str]) -> Split:
    pixels, labels = (np.frombuffer(regular.read(at / name), np.uint8) for name in files)
    if not len(pixels) or len(pixels) % BYTES:
        raise InputError(
            f"{at / files[0]}: has {len(pixels):,} bytes; expected {BYTES:,} an image. Download the archive again."
        )
    if len(labels) != len(pixels) // BYTES or labels.min() < 1 or labels.max() > len(classes):
        raise InputError(
            f"{at / files[1]}: has {len(labels)} labels of {labels.min(initial=255)} to {labels.max(initial=0)}; "
            f"expected {len(pixels) // BYTES} of 1 to {len(classes)}, one an image."
        )
    images = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1)
    return from_arrays(
        np.ascontiguousarray(images), labels.astype(int) - 1, name="stl-10", split=split, classes=classes,
        prefix=f"x-{files[0].partition('_')[0]}", source="STL-10, Coates et al. 2011",
    )  # fmt: skip
