"""Which layout a source has, and its reader."""

from __future__ import annotations

from pathlib import Path

from vhs.errors import InputError
from vhs.formats.split import Split
from vhs.sources import corrupted, fashion, folders, idx, npz

LAYOUTS = {
    "fashion-mnist": "the embedded subset of Fashion-MNIST, no path needed",
    "idx": "a folder of IDX files (MNIST, Fashion-MNIST), plain or .gz",
    "npz": "a NumPy archive with x_train, y_train, x_test, y_test or images, labels",
    "imagenet-c": "CORRUPTION/SEVERITY/CLASS/IMAGE: ImageNet-C's archives unpacked, Tiny-ImageNet-C",
    "cifar-c": "labels.npy and CORRUPTION.npy: CIFAR-10-C, CIFAR-100-C",
    "folders": "class folders, CLASS/IMAGE or SPLIT/CLASS/IMAGE",
}


def detect(source: str) -> str:
    """The layout of `source`. Raises InputError when it has none of LAYOUTS."""
    path = Path(source)
    if not path.exists():
        if source == fashion.NAME:
            return fashion.NAME
        raise InputError(f"{source}: is not there. Name a folder, a .npz file or {fashion.NAME}.")
    if path.is_file():
        if path.suffix == ".npz":
            return "npz"
        raise InputError(f"{source}: is a file, but no .npz archive. Name a folder, or decide with --layout.")
    if idx.is_folder(path):
        return "idx"
    if corrupted.is_tree(path):
        return "imagenet-c"
    if corrupted.is_arrays(path):
        return "cifar-c"
    if any(item.is_dir() for item in path.iterdir()):
        return "folders"
    raise InputError(f"{source}: has neither class folders nor IDX files. See `vhs shard --help` for the layouts.")


def read(source: str, layout: str) -> list[Split]:
    """The splits of `source` read as `layout`."""
    if layout == fashion.NAME:
        return fashion.splits()
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: is not there.")
    readers = {
        "idx": idx.splits, "npz": npz.splits, "folders": folders.splits, "imagenet-c": corrupted.tree_splits,
        "cifar-c": corrupted.array_splits,
    }  # fmt: skip
    return readers[layout](path)
