"""The embedded data: a class-balanced subset of Fashion-MNIST (MIT, Zalando SE).

One xz stream of six IDX arrays: images, labels and positions in the source file, for train and t10k.
"""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats.split import Split, from_arrays
from vhs.sources.idx_array import parse

NAME = "fashion-mnist"
FILE = "fashion-mnist.xz"
SOURCE = "https://github.com/zalandoresearch/fashion-mnist"
LICENCE = "MIT, (c) 2017 Zalando SE"
CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip
MD5 = {
    "train": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "t10k": "8181f5470baa50b63fa0f6fddb340f0a",
}
"""md5 of the uncompressed image files, by which the full data set is known."""
PER_CLASS = {"train": 1000, "t10k": 200}


def splits(_source: Path | None = None) -> list[Split]:
    """10,000 training and 2,000 validation images, 28 x 28 grey, equally many of each of ten classes."""
    rest = lzma.decompress(_path().read_bytes())
    found = []
    for prefix, split in (("train", "train"), ("t10k", "val")):
        images, rest = parse(rest, FILE)
        labels, rest = parse(rest, FILE)
        indices, rest = parse(rest, FILE)
        found.append(
            from_arrays(
                images, labels, name=NAME, split=split, classes=CLASSES, prefix=prefix, indices=indices,
                source=SOURCE, licence=LICENCE,
            )
        )  # fmt: skip
    return found


def pack(arrays: dict[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """The embedded file from the full data: {"train"|"t10k": (images [N, 28, 28], labels [N])}."""
    stream = b""
    for prefix, per_class in PER_CLASS.items():
        images, labels = arrays[prefix]
        kept = np.sort(np.concatenate([np.flatnonzero(labels == c)[:per_class] for c in range(len(CLASSES))]))
        stream += _idx(images[kept], 0x08) + _idx(labels[kept], 0x08) + _idx(kept.astype(">i4"), 0x0C)
    return lzma.compress(stream, preset=9 | lzma.PRESET_EXTREME)


def _idx(array: np.ndarray, kind: int) -> bytes:
    shape = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, kind, array.ndim]) + shape + array.tobytes()


def _path() -> Path:
    package = Path(__file__).resolve().parent.parent
    for path in (package / "embedded" / FILE, package.parent / "shards" / FILE):
        if path.is_file():
            return path
    raise InputError(f"{FILE} is missing from this installation of vhs. Install it again.")
