"""What the corruptions of ImageNet-C-bar share: draws, pixel coordinates, resampling, the cut to grey levels.

All of it in float64. Sines and powers of a pixel may differ by a unit in the last place between devices and between the
vectorised body and the scalar tail of one loop, which in float64 is too little to move a grey level.

Letters: B images, C channels, H height, W width, N draws.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.shifts import fields

FLAT = 1e-9
"""Grey levels added before resampled values are cut to whole ones, so that a flat area keeps its level."""


def shares(keys_B: Tensor, count: int, key: int, stream: int = 0) -> Tensor:
    """float64 [B, N], uniform in [0, 1)."""
    return fields.uniform(fields.words(keys_B, count, key, stream)).double()


def parameters(keys_B: Tensor, count: int, key: int, stream: int = 0) -> tuple[Tensor, ...]:
    """`count` uniform numbers in [0, 1) of each image, float64 [B, 1, 1] each."""
    return shares(keys_B, count, key, stream)[..., None, None].unbind(1)


def between(share: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """A share as a number from low to high."""
    return share * (high - low) + low


def coordinates(images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """The rows [H, 1] and columns [W], float64 px."""
    rows, columns = (torch.arange(side, device=images_BCHW.device).double() for side in images_BCHW.shape[-2:])
    return rows[:, None], columns


def side(images_BCHW: Tensor) -> int:
    """The shorter side, px, which lengths are shares of; the source knows squares only."""
    return min(images_BCHW.shape[-2:])


def cut(levels_BCHW: Tensor) -> Tensor:
    """Clipped to grey levels, the fraction dropped; uint8."""
    return levels_BCHW.clamp(0, 255).to(torch.uint8)


def resample(images_BCHW: Tensor, y_BHW: Tensor, x_BHW: Tensor) -> Tensor:
    """float64: the images at real coordinates (px), bilinear, zero outside."""
    height, width = images_BCHW.shape[-2:]
    grid = torch.stack([(x_BHW * 2 + 1) / width - 1, (y_BHW * 2 + 1) / height - 1], dim=-1)
    return read(images_BCHW.double(), grid.expand(len(images_BCHW), -1, -1, -1))


def read(images_BCHW: Tensor, grid_BHW2: Tensor) -> Tensor:
    """Bilinear at places from -1 to 1 between the outer edges of pixels, zero outside.

    Not by corners: torch then hands it to cuDNN on a GPU, whose bits are its own.
    """
    return F.grid_sample(images_BCHW, grid_BHW2, mode="bilinear", padding_mode="zeros", align_corners=False)
