"""What hides parts of an image under grey, of ImageNet-C-bar.

Levels are uint8; `key` is the 64-bit hash of (seed, corruption, severity); strength is the source's severity, 0 to 10.
Letters: B images, C channels, H height, W width, L lines, K steps along a line's longer axis.
Definitions: Mintun, Kirillov & Xie 2021 (arXiv:2102.11273), facebookresearch/augmentation-corruption (MIT),
imagenet_c_bar/corrupt.py; lines are scikit-image's `line_aa` (Zingl's anti-aliased Bresenham line).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vhs.shifts import planes

GREY = 128
CELLS = 64
"""Cells of a checkerboard along an axis, more than an image meets; their numbers go round."""


def checkerboard_cutout(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """Of a turned checkerboard of squares of .1 to .25 of the side, the dark ones turn grey with odds .1 strength.

    Whether a square does goes by its number cut towards 0, as the source has it: along both axes of the board, two
    rows of squares have one lot.
    """
    draws = planes.parameters(keys_B, 2, key)
    angle = draws[0] * (2 * math.pi)
    scale = (planes.between(draws[1], 0.1, 0.25) * planes.side(levels_BCHW)).clamp(min=1)
    chosen = planes.shares(keys_B, CELLS * CELLS, key, stream=1) < 0.1 * strength
    rows, columns = planes.coordinates(levels_BCHW)
    along = (angle.cos() * rows + angle.sin() * columns) / scale
    beside = (angle.cos() * columns - angle.sin() * rows) / scale
    dark = along.floor() % 2 == beside.floor() % 2
    cell = along.long() % CELLS * CELLS + beside.long() % CELLS
    hidden = dark & chosen.gather(1, cell.flatten(1)).view_as(dark)
    return torch.where(hidden[:, None], GREY, levels_BCHW)


def lines(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """.1 strength times the side grey lines, twice the side long, whose middles lie anywhere in the image; angles are
    those of one direction, spread by .1 to 1 turns. Each line is cut to whole grey levels before the next."""
    height, width = levels_BCHW.shape[-2:]
    number = int(strength / 10 * planes.side(levels_BCHW))
    ends = line_ends(keys_B, key, number, (height, width))
    place, cover = line_pixels(*ends, (height, width))
    flat = levels_BCHW.double().flatten(2)
    flat = torch.cat([flat, flat.new_zeros(*flat.shape[:2], 1)], dim=2)  # the last takes what lies outside
    for index, share in zip(place.unbind(1), cover.unbind(1), strict=True):
        index, share = (part[:, None].expand(-1, flat.shape[1], -1) for part in (index, share))
        flat.scatter_(2, index, ((1 - share) * flat.gather(2, index) + share * GREY).floor_())
    return flat[..., :-1].unflatten(2, (height, width)).to(torch.uint8)


def line_ends(keys_B: Tensor, key: int, number: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The first and the last pixel of each line, (row, column), int64 [B, L, 2]."""
    common = planes.shares(keys_B, 2, key)
    draws = planes.shares(keys_B, 3 * number, key, stream=1).view(len(keys_B), number, 3)
    variation = planes.between(common[:, 1:], 0.1, 1.0)
    angle = common[:, :1] * (2 * math.pi) + 2 * math.pi * variation * (draws[..., 2] - 0.5)
    reach = min(size) * torch.stack([angle.cos(), angle.sin()], dim=-1)
    middle = torch.stack([draws[..., axis] * side for axis, side in enumerate(size)], dim=-1)
    return (middle - reach).long(), (middle + reach).long()


def line_pixels(first_BL2: Tensor, last_BL2: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(pixel numbers, int64 [B, L, 3 K]; how much of each the line covers, float64), three a step along a line.

    Zingl's loop keeps to the pixel beside the line and adds those beside that one; the closed form has the same pixels
    and values. Outside an image or a line the number is H * W and the cover 0.
    """
    sign, step = (last_BL2 - first_BL2).sign(), (last_BL2 - first_BL2).abs()
    steep = step[..., 1] < step[..., 0]  # the longer axis is that of rows
    long, short = step.amax(-1, keepdim=True), step.amin(-1, keepdim=True)
    k = torch.arange(2 * min(size) + 2, device=step.device)
    path, before = (((2 * n + 1) * short).div((2 * long).clamp(min=1), rounding_mode="floor") for n in (k, k - 1))
    places, covers = [], []
    for beside in (-1, 0, 1):
        across = path + beside
        off = across * long - k * short
        told = {-1: (k > 0) & (path > before), 0: k >= 0, 1: k < long}[beside]
        length = (step.square().sum(-1, keepdim=True)).double().sqrt().clamp(min=1)
        cover = 1 - off.abs() / length
        row, column = (
            first_BL2[..., axis, None] + sign[..., axis, None] * torch.where(longer[..., None], k, across)
            for axis, longer in enumerate((steep, ~steep))
        )
        inside = (row >= 0) & (row < size[0]) & (column >= 0) & (column < size[1])
        drawn = told & (k <= long) & (cover > 0) & inside
        places.append(torch.where(drawn, row * size[1] + column, size[0] * size[1]))
        covers.append(torch.where(drawn, cover, 0.0))
    return torch.cat(places, dim=-1), torch.cat(covers, dim=-1)
