"""From a stored sample to pixels at the evaluation geometry.

Letters: H height, W width, C channels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from vhs.errors import InputError
from vhs.formats.shards import Manifest, Sample, ShardSet

RESIZE, CROP = 256, 224
"""ImageNet geometry, for sets whose images differ in size: shorter side to 256 px (bilinear), centre 224."""
MARGIN = 2
"""Pixels of the resized image."""


def decoded(data: ShardSet, sample: Sample) -> np.ndarray:
    """uint8 [C, H, W] at the evaluation geometry. Raises InputError naming the sample."""
    return fitted(data.decoded(sample), data.manifest, sample)


def geometry(manifest: Manifest) -> str:
    """The evaluation geometry of a set, in words."""
    if manifest.height is not None:
        return f"native {manifest.height}x{manifest.width}"
    return f"resize {RESIZE}, crop {CROP}"


def side(manifest: Manifest) -> tuple[int, int]:
    """Height and width of a decoded image, px."""
    return (manifest.height or CROP, manifest.width or CROP)


def fitted(pixels_HWC: np.ndarray, manifest: Manifest, sample: Sample) -> np.ndarray:
    """uint8 [C, H, W] at the evaluation geometry."""
    if manifest.height is not None:
        if pixels_HWC.shape[:2] != (manifest.height, manifest.width):
            found = f"{pixels_HWC.shape[0]}x{pixels_HWC.shape[1]}"
            raise InputError(f"{sample.where}: is {found} px, its manifest says {manifest.height}x{manifest.width}.")
        return pixels_HWC.transpose(2, 0, 1)
    return resize_and_crop(pixels_HWC)


def resize_and_crop(pixels_HWC: np.ndarray) -> np.ndarray:
    """uint8 [C, 224, 224]: shorter side to 256 px, bilinear with antialiasing, and the centre."""
    sides = pixels_HWC.shape[:2]
    resized = [RESIZE * side // min(sides) for side in sides]
    top, left = (round((side - CROP) / 2) for side in resized)
    # what lies behind the crop is not resized; MARGIN keeps the filter's support inside
    rows, columns = (
        min(side, -(-(start + CROP + MARGIN) * side // new))
        for side, start, new in zip(sides, (top, left), resized, strict=True)
    )
    image = torch.from_numpy(np.require(pixels_HWC, requirements=("C", "W"))).permute(2, 0, 1)[None, :, :rows, :columns]
    factors = resized[0] / sides[0], resized[1] / sides[1]
    made = F.interpolate(
        image, scale_factor=factors, mode="bilinear", antialias=True, recompute_scale_factor=False
    )[0]  # fmt: skip
    return made[:, top : top + CROP, left : left + CROP].numpy()
