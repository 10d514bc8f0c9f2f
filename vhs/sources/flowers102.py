"""Oxford Flowers-102 as torchvision lays it out: flowers-102/jpg/image_00001.jpg, imagelabels.mat, setid.mat.

Nilsback & Zisserman 2008. Labels are 1 to 102, one for each image; setid.mat holds the images of each split, from 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats.split import Split
from vhs.sources import matlab, published
from vhs.sources.folders import split_of_paths

FOLDER, LABELS, SETS = "flowers-102", "imagelabels.mat", "setid.mat"
SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}
COUNT = 102


def is_folder(folder: Path) -> bool:
    """Whether `folder`, or the `flowers-102` in it, holds one of the two MATLAB files."""
    return published.place(folder, FOLDER, (LABELS, SETS)) is not None


def splits(folder: Path) -> list[Split]:
    """train, val and test as published; classes are called by their numbers, 1 to 102."""
    at = published.checked(folder, FOLDER, (LABELS, SETS), ("jpg", LABELS, SETS))
    labels = matlab.arrays(at / LABELS, ("labels",))["labels"].ravel()
    if not np.isin(labels, np.arange(1, COUNT + 1)).all():
        raise InputError(f"{at / LABELS}: its labels are not 1 to {COUNT}. Download it again.")
    sets = matlab.arrays(at / SETS, tuple(SPLITS.values()))
    return [_split(at, split, sets[name].ravel(), labels) for split, name in SPLITS.items()]


def _split(at: Path, split: str, images: np.ndarray, labels: np.ndarray) -> Split:
    if not np.isin(images, np.arange(1, len(labels) + 1)).all():
        raise InputError(
            f"{at / SETS}: {SPLITS[split]} names images beyond the {len(labels)} of {LABELS}. Download both again."
        )
    numbers = images.astype(int).tolist()
    relative = [Path("jpg") / f"image_{number:05d}.jpg" for number in numbers]
    classes = tuple(str(number) for number in range(1, COUNT + 1))
    chosen = [int(labels[number - 1]) - 1 for number in numbers]
    return split_of_paths(at, relative, chosen, classes, name=FOLDER, split=split)
