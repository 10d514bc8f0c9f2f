"""Sparkles, of ImageNet-C-bar: stars of many rays, white or all that is left of the image.

Levels are uint8; `key` is the 64-bit hash of (seed, corruption, severity); strength is the source's severity, 0 to 10.
Letters: B images, C channels, H height, W width, S stars, R rays (the most there are).
Definitions: Mintun, Kirillov & Xie 2021 (arXiv:2102.11273), facebookresearch/augmentation-corruption (MIT),
imagenet_c_bar/corrupt.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vhs.shifts import fields, planes

STARS = 5
LEAST_RAYS, RAYS = 50, 200
SPREAD = 0.25
"""Deviation of a ray's length, in mean lengths."""
SOFT = 1e-4
"""px^2, added to squared distances."""


def sparkles(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """Five white stars anywhere; their rays have .01 strength of the side in the mean, 1 px at least."""
    height, width = levels_BCHW.shape[-2:]
    rays, lengths = star_rays(keys_B, key, STARS, 0.01 * strength * planes.side(levels_BCHW))
    centres = planes.shares(keys_B, 2 * STARS, key, stream=1).view(-1, STARS, 2)
    stays = torch.ones(len(keys_B), height, width, dtype=torch.float64, device=keys_B.device)
    for star in range(STARS):
        y, x = (centres[:, star, axis, None, None] * side for axis, side in enumerate((height, width)))
        stays *= 1 - glow(levels_BCHW, (y, x), rays[:, star], lengths[:, star].clamp(min=1))
    return planes.cut(255 - (255 - levels_BCHW.double()) * stays[:, None])


def inverse_sparkles(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """White around one star in the middle half; its rays have a quarter of the side in the mean, and its edge is the
    steeper the higher the strength: the ratio of lengths squared to the power .13 strength."""
    rays, lengths = star_rays(keys_B, key, 1, 0.25 * planes.side(levels_BCHW))
    draws = planes.parameters(keys_B, 2, key, stream=1)
    y, x = (planes.between(draw, 0.25, 0.75) * side for draw, side in zip(draws, levels_BCHW.shape[-2:], strict=True))
    stays = glow(levels_BCHW, (y, x), rays[:, 0], lengths[:, 0], 0.13 * strength)
    return planes.cut(255 - (255 - levels_BCHW.double()) * stays[:, None])


def star_rays(keys_B: Tensor, key: int, stars: int, radius: float) -> tuple[Tensor, Tensor]:
    """(how many rays a star has, int64 [B, S]; their lengths, float64 [B, S, R] px: the first so many count)."""
    rays = LEAST_RAYS + fields.below(fields.words(keys_B, stars, key, stream=2), RAYS - LEAST_RAYS).long()
    normal = fields.normal(fields.words(keys_B, stars * RAYS, key)).double().view(-1, stars, RAYS)
    return rays, radius + SPREAD * radius * normal


def glow(
    images_BCHW: Tensor, centre: tuple[Tensor, Tensor], rays_B: Tensor, lengths_BR: Tensor, power: float = 1.0
) -> Tensor:
    """float64 [B, H, W] in [0, 1]: how much of a star is at each pixel. centre: row and column, [B, 1, 1] each.

    Between two rays their length goes from one to the other, and the light dips to 3/4 on each ray.
    """
    rows, columns = planes.coordinates(images_BCHW)
    dy, dx = rows - centre[0], columns - centre[1]
    turn = torch.atan2(dx, dy).add_(math.pi).div_(2 * math.pi).mul_(rays_B[:, None, None])
    ray = turn.floor()
    turn -= ray
    following = (torch.arange(RAYS, device=rays_B.device) + 1) % rays_B[:, None]
    ray = (ray.long() % rays_B[:, None, None]).flatten(1)
    step = lengths_BR.gather(1, following) - lengths_BR
    length = step.gather(1, ray).view_as(turn).mul_(turn).add_(lengths_BR.gather(1, ray).view_as(turn))
    light = length.square_().div_(dy.square() + dx.square() + SOFT)
    if power != 1:
        light.pow_(power)
    return light.mul_(1 - (turn - 0.5).square_()).clamp_(0, 1)
