"""Small CIFAR folders in exactly the four public layouts, pickles as Python 2 wrote them."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vhs.sources import cifar

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FINE = tuple(f"fine_{number}" for number in range(100))
COARSE = tuple(f"coarse_{number}" for number in range(20))


def images_and_labels(count: int, seed: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [count, 3072] in planes of red, green, blue, and labels that take turns."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)
    return pixels, (np.arange(count) % classes).astype(np.uint8)


def python2(value: Any) -> bytes:
    """What cPickle of Python 2 and NumPy 1 wrote in protocol 2."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(key) + _python2(item) for key, item in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, (str, bytes)):
        data = value.encode() if isinstance(value, str) else value
        return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data
    assert isinstance(value, np.ndarray) and value.dtype == np.uint8
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return start + b"(K\x01" + shape + kind + b"\x89" + _python2(value.tobytes()) + b"tb"


def publish(folder: Path, files: dict[str, bytes], patch: pytest.MonkeyPatch) -> Path:
    """The files, and their md5 as those published."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    patch.setitem(cifar.MD5, folder.name, {name: hashlib.md5(data).hexdigest() for name, data in files.items()})
    return folder


def cifar_10_python(parent: Path, patch: pytest.MonkeyPatch, count: int = 4, held: int = 6) -> Path:
    """Five batches of `count`, and `held` test images."""
    files = {"batches.meta": python2({"num_cases_per_batch": count, "label_names": list(CLASSES), "num_vis": 3072})}
    for name, number, seed in _batches(count, held):
        pixels, labels = images_and_labels(number, seed)
        files[name] = python2(
            {"batch_label": name, "labels": labels.tolist(), "data": pixels, "filenames": ["x.png"] * number}
        )
    return publish(parent / "cifar-10-batches-py", files, patch)


def cifar_10_binary(parent: Path, count: int = 4, held: int = 6) -> Path:
    """The same images as records."""
    folder = parent / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    for name, number, seed in _batches(count, held):
        pixels, labels = images_and_labels(number, seed)
        (folder / f"{name}.bin").write_bytes(np.hstack([labels[:, None], pixels]).tobytes())
    return folder


def _batches(count: int, held: int) -> list[tuple[str, int, int]]:
    return [*((f"data_batch_{number}", count, number) for number in range(1, 6)), ("test_batch", held, 6)]


def cifar_100_python(parent: Path, patch: pytest.MonkeyPatch, count: int = 30) -> Path:
    """As many test images."""
    files = {"meta": python2({"fine_label_names": list(FINE), "coarse_label_names": list(COARSE)})}
    for name, seed in (("train", 1), ("test", 2)):
        pixels, fine = images_and_labels(count, seed, 100)
        labels = {"fine_labels": fine.tolist(), "coarse_labels": (fine % 20).tolist()}
        files[name] = python2({"filenames": ["x.png"] * count, "batch_label": name, **labels, "data": pixels})
    return publish(parent / "cifar-100-python", files, patch)


def cifar_100_binary(parent: Path, count: int = 30) -> Path:
    """The same images as records."""
    folder = parent / "cifar-100-binary"
    folder.mkdir(parents=True)
    (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
    (folder / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")
    for name, seed in (("train", 1), ("test", 2)):
        pixels, fine = images_and_labels(count, seed, 100)
        (folder / f"{name}.bin").write_bytes(np.hstack([fine[:, None] % 20, fine[:, None], pixels]).tobytes())
    return folder


def mnist(folder: Path, count: int = 400) -> Path:
    """IDX files of `count` grey 28 x 28 digits and as many test images: every pixel is the digit times 20, but the last
    two, which number the image."""
    folder.mkdir(parents=True)
    labels = (np.arange(count) % 10).astype(np.uint8)
    for prefix, first in (("train", 0), ("t10k", count)):
        images = np.repeat(labels * 20, 784).reshape(count, 28, 28)
        images[:, 27, 26:] = np.stack(np.divmod(first + np.arange(count), 256), 1)
        for kind, array in (("images", images), ("labels", labels)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{prefix}-{kind}-idx{array.ndim}-ubyte").write_bytes(head + array.tobytes())
    return folder
