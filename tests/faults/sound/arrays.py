"""Arrays: IDX, npz, npy."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np

from tests.faults.damage import arrays, blind
from tests.faults.sound.format import Format


def formats() -> list[Format]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (12, 9, 8), dtype=np.uint8), (np.arange(12) % 5).astype(np.uint8)
    idx = {
        "idx/t10k-images-idx3-ubyte": b"\0\0\x08\x03" + np.array(images.shape, ">u4").tobytes() + images.tobytes(),
        "idx/t10k-labels-idx1-ubyte": b"\0\0\x08\x01" + np.array(labels.shape, ">u4").tobytes() + labels.tobytes(),
    }
    zipped = {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in idx.items()}
    made = io.BytesIO()
    np.savez(made, x_test=images, y_test=labels)
    cifar = {
        f"cifar/{name}.npy": _npy(data)
        for name, data in (("labels", labels), ("fog", np.repeat(images[..., None], 3, 3)))
    }
    look, pack = ((70, ("shard", "idx", "out", "-q", "--dry-run")), (30, ("shard", "idx", "out", "-q")))
    found = [
        Format(name.rpartition("/")[2], idx, name, (*blind.BLIND, *[arrays.idx_header] * 4), (look, pack), share=2)
        for name in idx
    ]
    ways = (*blind.BLIND, *(arrays.gzipped(way) for way in (arrays.idx_header, blind.cut, blind.extended)))
    found += [Format(name.rpartition("/")[2], zipped, name, ways, (look, pack), share=1.5) for name in zipped]
    archive = ((70, ("shard", "a.npz", "out", "-q", "--dry-run")), (30, ("shard", "a.npz", "out", "-q")))
    found.append(
        Format("npz", {"a.npz": made.getvalue()}, "a.npz", (*blind.BLIND, *[arrays.as_npz] * 8), archive, share=4)
    )
    found += [
        Format(f"cifar-c {Path(name).stem}", cifar, name, blind.BLIND, ((100, ("shard", "cifar", "out", "-q", "--dry-run")),), share=0.5)
        for name in cifar
    ]  # fmt: skip
    return found


def _npy(data: np.ndarray) -> bytes:
    made = io.BytesIO()
    np.save(made, data)
    return made.getvalue()
