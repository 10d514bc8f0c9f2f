"""NumPy archives: `x_train, y_train, x_test, y_test` (as Keras writes them) or `images, labels`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats.split import Split, class_names, from_arrays
from vhs.sources import numpy_files

PAIRS = (
    ("x_train", "y_train", "train"), ("x_val", "y_val", "val"), ("x_test", "y_test", "val"),
    ("train_images", "train_labels", "train"), ("val_images", "val_labels", "val"),
    ("test_images", "test_labels", "test"), ("images", "labels", "val"),
)  # fmt: skip


def splits(path: Path) -> list[Split]:
    """One split for each known pair of arrays; uint8 images [N, H, W] or [N, H, W, 1 or 3]."""
    arrays = numpy_files.archive(path)
    found: dict[str, Split] = {}
    for images, labels, split in PAIRS:
        if images in arrays and labels in arrays:
            found.setdefault(split, _split(path, arrays, (images, labels), split))
    if not found:
        raise InputError(f"{path}: holds {', '.join(arrays) or 'nothing'}; expected pairs such as x_train and y_train.")
    return list(found.values())


def _split(path: Path, arrays: dict[str, np.ndarray], pair: tuple[str, str], split: str) -> Split:
    images, labels = arrays[pair[0]], arrays[pair[1]]
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    grey_or_rgb = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3))
    if images.dtype != np.uint8 or not grey_or_rgb:
        raise InputError(
            f"{path}: {pair[0]} is {images.dtype} {images.shape}; expected uint8 [N, H, W] or [N, H, W, 1 or 3]."
        )
    if labels.ndim != 1:
        raise InputError(
            f"{path}: {pair[1]} is {labels.shape}; expected one class index an image [N]. One-hot? argmax(1)."
        )
    names = class_names(np.concatenate([arrays[name].ravel() for _, name, _ in PAIRS if name in arrays]), str(path))
    return from_arrays(
        images, labels, name=path.stem, split=split, classes=names, prefix=pair[0].replace("_", "-"), source=path.name
    )
