"""Displacements of pixels, of CIFAR-10-C-bar.

Levels are uint8; `key` is the 64-bit hash of (seed, corruption, severity); strength is the source's severity, 0 to 10.
Letters: B images, C channels, H height, W width. Definitions: Mintun, Kirillov & Xie 2021 (arXiv:2102.11273),
facebookresearch/augmentation-corruption (MIT), imagenet_c_bar/corrupt.py.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from vhs.shifts import fields, planes


def ripple(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """Rows and columns displaced by sines of themselves, of .0025 strength of the side."""
    side = planes.side(levels_BCHW)
    draws = planes.parameters(keys_B, 4, key)
    lengths = [planes.between(draw, 0.1, 0.3) * side for draw in draws[:2]]
    moved = [
        at + 0.0025 * strength * side * (at * (2 * math.pi) / length + phase * (2 * math.pi)).sin_()
        for at, length, phase in zip(planes.coordinates(levels_BCHW), lengths, draws[2:], strict=True)
    ]
    size = levels_BCHW.shape[-2:]
    y, x = (at.expand(-1, *size) for at in moved)
    return planes.cut(planes.resample(levels_BCHW, y, x).add_(planes.FLAT))


def pinch_and_twirl(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """In each cell of a grid (3 x 3; 5 x 5 for images nearer to 224 px than to 32) a disk is drawn towards its middle,
    the power .1 + .04 strength, and twirled by up to 9 strength degrees, left or right."""
    height, width = levels_BCHW.shape[-2:]
    cells = 5 if planes.side(levels_BCHW) > math.sqrt(32 * 224) else 3
    cell, away, angle = disks((height, width), cells, strength, keys_B.device)
    words = fields.words(keys_B, cells * cells, key)
    left = (words >= 0).double().mul_(2).sub_(1).index_select(1, cell.flatten()).view(-1, height, width)
    cosine, sine = angle.cos(), angle.sin() * left
    rows, columns = planes.coordinates(levels_BCHW)
    y = rows + away[0] * cosine - away[1] * sine - away[2]
    x = columns + away[0] * sine + away[1] * cosine - away[3]
    return planes.cut(planes.resample(levels_BCHW, y, x).add_(planes.FLAT))


@lru_cache(maxsize=16)
def disks(size: tuple[int, int], cells: int, strength: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(the cell of each pixel, int64 [H, W]; its way from the middle of its disk, float64 [4, H, W]: down and across
    where it is drawn, then where it was; the angle, [H, W]). Outside disks nothing changes."""
    radius = min(size) // cells / 2
    rows, columns = (torch.arange(side, device=device) for side in size)
    row, column = ((at // (side // cells)).clamp(max=cells - 1) for at, side in zip((rows, columns), size, strict=True))
    down = (rows - row * (size[0] // cells) - radius).double()[:, None].expand(size)
    across = (columns - column * (size[1] // cells) - radius).double().expand(size)
    far = (down.square() + across.square()).sqrt()
    inside = (far <= radius) & (far >= 0.0005)  # the source rounds distances to .001
    share = torch.where(inside, far / radius, 1.0)
    drawn = (share * (math.pi / 2)).sin().pow(-(0.1 + 0.04 * strength))
    angle = (strength * math.pi / 20) * (1 - share).square()
    return row[:, None] * cells + column, torch.stack([down * drawn, across * drawn, down, across]), angle
