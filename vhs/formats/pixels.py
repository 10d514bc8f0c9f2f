"""From a stored sample to pixels at the evaluation geometry.

Letters: H height, W width, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from vhs.errors import InputError
from vhs.formats import images
from vhs.formats.manifest import Manifest
from vhs.formats.sample import Sample
from vhs.formats.shards import ShardSet

MARGIN = 4
"""Pixels of the resized image."""


class Geometry(NamedTuple):
    """Shorter side to `resize` px, `bilinear` or `bicubic` and antialiased, then the centre of `crop` (H, W).

    squash: both sides are resized to the crop's shape, the shorter one to `resize`. floored: half a pixel is rounded
    down where the crop begins, not to even.
    """

    resize: int
    crop: tuple[int, int]
    mode: str = "bilinear"
    squash: bool = False
    floored: bool = False

    def __str__(self) -> str:
        crop = str(self.crop[0]) if self.crop[0] == self.crop[1] else f"{self.crop[0]}x{self.crop[1]}"
        how = f"{'' if self.mode == 'bilinear' else f' {self.mode}'}{' both sides' if self.squash else ''}"
        return f"resize {self.resize}{how}, crop {crop}"

    def laid_out(self, sides: tuple[int, ...]) -> tuple[list[int], list[int]]:
        """(resized height and width, where the crop begins) of an image with these sides."""
        shape = self.crop if self.squash else sides
        resized = [max(self.resize * side // min(shape), crop) for side, crop in zip(shape, self.crop, strict=True)]
        half = int if self.floored else round
        return resized, [half((side - crop) / 2) for side, crop in zip(resized, self.crop, strict=True)]


IMAGENET = Geometry(256, (224, 224))
"""For sets whose images differ in size, unless a model's own is asked for."""


def decode(data: ShardSet, sample: Sample, geometry: Geometry = IMAGENET) -> np.ndarray:
    """uint8 [C, H, W] at the evaluation geometry. Raises InputError naming the sample."""
    return fit(data.decode(sample), data.manifest, sample, geometry)


def in_words(manifest: Manifest, geometry: Geometry = IMAGENET) -> str:
    """The evaluation geometry of a set."""
    return str(geometry) if manifest.height is None else f"native {manifest.height}x{manifest.width}"


def side(manifest: Manifest, geometry: Geometry = IMAGENET) -> tuple[int, int]:
    """Height and width of a decoded image, px."""
    return (manifest.height or geometry.crop[0], manifest.width or geometry.crop[1])


def fit(
    pixels_HWC: np.ndarray, manifest: Manifest, sample: Sample, geometry: Geometry = IMAGENET
) -> np.ndarray:  # fmt: skip
    """uint8 [C, H, W] at the evaluation geometry."""
    if manifest.height is not None:
        if pixels_HWC.shape[:2] != (manifest.height, manifest.width):
            found = f"{pixels_HWC.shape[0]}x{pixels_HWC.shape[1]}"
            raise InputError(f"{sample.where}: is {found} px, its manifest says {manifest.height}x{manifest.width}.")
        return pixels_HWC.transpose(2, 0, 1)
    return resize_and_crop(pixels_HWC, geometry)


def decode_map(data: ShardSet, sample: Sample, name: str, geometry: Geometry = IMAGENET) -> np.ndarray:
    """uint8 [H, W]: a map of labels that lies beside a sample, at its geometry, by nearest pixels."""
    labels = images.decode(sample.further[name], 1, f"{sample.where} ({name})")
    if data.manifest.height is not None:
        return fit(labels, data.manifest, sample, geometry)[0]
    return crop_map(labels[..., 0], geometry)


def crop_map(labels_HW: np.ndarray, geometry: Geometry) -> np.ndarray:
    """uint8 of the geometry's crop: where `resize_and_crop` averages pixels, the nearest one."""
    resized, starts = geometry.laid_out(labels_HW.shape)
    places = [
        np.minimum((np.arange(crop) + start + 0.5) * side / new, side - 1).astype(int)
        for side, new, start, crop in zip(labels_HW.shape, resized, starts, geometry.crop, strict=True)
    ]
    return labels_HW[np.ix_(*places)]


def resize_and_crop(pixels_HWC: np.ndarray, geometry: Geometry = IMAGENET) -> np.ndarray:
    """uint8 [C, H, W] of the geometry's crop."""
    sides = pixels_HWC.shape[:2]
    resized, starts = geometry.laid_out(sides)
    # what lies behind the crop is not resized; MARGIN keeps the filter's support inside
    ends = [
        min(side, -(-(start + crop + MARGIN) * side // new) + MARGIN)
        for side, start, crop, new in zip(sides, starts, geometry.crop, resized, strict=True)
    ]
    image = torch.from_numpy(np.require(pixels_HWC, requirements=("C", "W"))).permute(2, 0, 1)
    factors = resized[0] / sides[0], resized[1] / sides[1]
    made = F.interpolate(
        image[None, :, : ends[0], : ends[1]], scale_factor=factors, mode=geometry.mode, antialias=True,
        recompute_scale_factor=False,
    )[0]  # fmt: skip
    top, left = starts
    return made[:, top : top + geometry.crop[0], left : left + geometry.crop[1]].numpy()
