"""IDX files, the format of MNIST and its successors: plain or gzipped, in pairs of images and labels."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats import regular
from vhs.formats.split import Split, class_names, from_arrays
from vhs.sources import fashion
from vhs.sources.idx_array import MAX_DIMENSIONS, parse

SPLITS = {"train": "train", "t10k": "val", "test": "val"}


def splits(folder: Path) -> list[Split]:
    """The train and test pairs of a folder, `train-images-idx3-ubyte[.gz]` and so on."""
    found = [_pair(folder, prefix, split) for prefix, split in SPLITS.items() if _find(folder, prefix, "images")]
    if not found:
        raise InputError(f"{folder}: holds no train-images-idx3-ubyte or t10k-images-idx3-ubyte, plain or .gz.")
    return found


def is_folder(folder: Path) -> bool:
    return folder.is_dir() and any(_find(folder, prefix, "images") for prefix in SPLITS)


def _pair(folder: Path, prefix: str, split: str) -> Split:
    image_path = _find(folder, prefix, "images")
    label_path = _find(folder, prefix, "labels")
    assert image_path is not None
    if label_path is None:
        raise InputError(f"{folder}: has {image_path.name} but no {prefix}-labels-idx1-ubyte beside it.")
    raw = _read(image_path)
    images, labels = parse(raw, str(image_path))[0], parse(_read(label_path), str(label_path))[0]
    if images.ndim != 3 or labels.ndim != 1:
        raise InputError(f"{image_path}: {images.ndim} dimensions and {labels.ndim}; expected images 3, labels 1.")
    known = hashlib.md5(raw, usedforsecurity=False).hexdigest() in fashion.MD5.values()
    names = fashion.CLASSES if known else class_names(labels.astype(np.int64), str(label_path))
    return from_arrays(
        images, labels, name=fashion.NAME if known else folder.resolve().name, split=split, classes=names,
        prefix=prefix, source=fashion.SOURCE if known else image_path.name, licence=fashion.LICENCE if known else "",
    )  # fmt: skip


def _find(folder: Path, prefix: str, kind: str) -> Path | None:
    rank = {"images": 3, "labels": 1}[kind]
    names = (f"{prefix}-{kind}{dash}idx{rank}-ubyte{suffix}" for dash in "-." for suffix in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(path: Path) -> bytes:
    data = regular.read(path)
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            start = file.read(4 + 4 * MAX_DIMENSIONS)
            promised = _promised_bytes(start)
            regular.check_unpacked(promised, len(data), str(path))
            return start + file.read(promised)  # at most so much; `parse` finds what is missing
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}. Copy it again.") from error


def _promised_bytes(start: bytes) -> int:
    """Bytes of the array that an IDX header describes; 0 where it is none."""
    if len(start) < 4 or start[3] > MAX_DIMENSIONS or len(start) < 4 + 4 * start[3]:
        return 0
    shape = struct.unpack(f">{start[3]}I", start[4 : 4 + 4 * start[3]])
    return int(np.prod(shape, dtype=object)) * (1 if start[2] == 0x08 else 4)
