"""Images with their answers, as every measure receives them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """One tile of samples, at the data's evaluation geometry, before any resizing to a model.

    images_BCHW: uint8, C is 1 or 3.
    labels_B: int64 class indices, of the data's class list.
    keys_B: int64, the bits of the unsigned 64-bit sample hash; random draws are keyed by it.
    folds_B: int64 in 0..FOLDS-1, and FOLDS for padding.
    groups_AB: int64, one row a way of grouping: positions in `Groups.names`, len(names) for padding.
    size: how many of the B samples are real; the rest pad the tile and count nowhere.
    positions_B: int64, the samples' places in the set, its length for padding; where outcomes are kept.
    clean_BCHW: the same images before the shift that images_BCHW are under; None where that is not known.
    targets_BT: float32, standardised; of regression.
    labels_BL: int64, where samples have several right labels: all of them, -1 beyond; labels_B is the first.
    regions_BHW, bare_BCHW: uint8, a map of each image's regions and its bare twin, where they are measured; the twin is
    under the shift, too. added_BR: bool, in which regions they differ before it.
    """

    images_BCHW: Tensor
    labels_B: Tensor
    keys_B: Tensor
    folds_B: Tensor
    groups_AB: Tensor
    size: int
    positions_B: Tensor | None = None
    targets_BT: Tensor | None = None
    clean_BCHW: Tensor | None = None
    regions_BHW: Tensor | None = None
    bare_BCHW: Tensor | None = None
    added_BR: Tensor | None = None
    labels_BL: Tensor | None = None

    def part(self, rows: slice) -> Batch:
        """Some of its real samples."""
        cut = {item.name: _rows(getattr(self, item.name), rows) for item in fields(self) if item.name != "size"}
        return replace(self, **cut | {"groups_AB": self.groups_AB[:, rows], "size": rows.stop - rows.start})

    def with_images(self, images_BCHW: Tensor) -> Batch:
        """The batch under a shift that gave it these images."""
        return replace(self, images_BCHW=images_BCHW, clean_BCHW=self.images_BCHW)


def _rows(values: Tensor | None, rows: slice) -> Tensor | None:
    return None if values is None else values[rows]
