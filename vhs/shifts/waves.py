"""The wave patterns of ImageNet-C-bar: level + intensity * a field of sines.

Levels are uint8; `key` is the 64-bit hash of (seed, corruption, severity); strength is the source's severity, 0 to 10.
Letters: B images, C channels, H height, W width. Definitions: Mintun, Kirillov & Xie 2021 (arXiv:2102.11273),
facebookresearch/augmentation-corruption (MIT), imagenet_c_bar/corrupt.py.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vhs.shifts import planes

TINY = 1e-6
"""px; the least width of rings."""
STEPS = 6
"""Plasma takes 4 to as many."""


def single_frequency_greyscale(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """x + 19.6 strength sin(fx + gy + phase); the larger of |f|, |g| is uniform up to pi, the other up to that one."""
    draws = planes.parameters(keys_B, 4, key)
    larger = planes.between(draws[0], -math.pi, math.pi)
    smaller = planes.between(draws[1], -larger.abs(), larger.abs())
    swapped = draws[2] < 0.5
    rows, columns = planes.coordinates(levels_BCHW)
    across = columns * torch.where(swapped, smaller, larger)
    down = rows * torch.where(swapped, larger, smaller) + draws[3] * (2 * math.pi)
    wave = down.sin() * across.cos() + down.cos() * across.sin()
    return planes.cut(levels_BCHW + (19.6 * strength) * wave[:, None])


def cocentric_sine_waves(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """x + 12.8 strength times a sawtooth (-1/2 to 1/2) of the distance to a point; rings are wavy with the angle."""
    height, width = levels_BCHW.shape[-2:]
    reach = planes.side(levels_BCHW) / 10
    draws = planes.parameters(keys_B, 5, key)
    rows, columns = planes.coordinates(levels_BCHW)
    dx, dy = columns - draws[0] * width, rows - draws[1] * height
    angle = torch.atan2(dx, dy).mul_(draws[2] * 10)
    distance = (dx.square() + dy.square()).sqrt_().add_(angle.sin_().mul_(draws[3] * reach))
    ring = (draws[4] * reach).clamp(min=TINY)
    wave = distance.remainder_(ring).div_(ring).sub_(0.5)
    return planes.cut(levels_BCHW + (12.8 * strength) * wave[:, None])


def plasma_noise(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """A blend with sines of coordinates that sines have displaced 4 to 6 times; its share is 6.4 strength / 255.

    The source turns its displacements by a phase that it multiplies up from 0, so that it stays 0.
    """
    draws = planes.parameters(keys_B, 4, key)
    time, sharpness = draws[0] * (6 * math.pi), planes.between(draws[2], 0.5, 1.0)
    steps = 4 + (draws[1] * 3).floor()
    scale = planes.between(draws[3], 0.075, 0.2) * planes.side(levels_BCHW)
    y, x = (coordinate / scale for coordinate in planes.coordinates(levels_BCHW))
    for step in range(STEPS):
        size = (2.25 - sharpness) ** step
        turn = time / 1.15**step
        right = (y * 1.93**step + turn).cos_() / size
        down = (x * 1.93**step + turn).sin_() / size
        taken = (steps > step).double()
        x, y = x + (right - down * 0.3) * taken, y + (down + right * 0.3) * taken
    waves = torch.stack([(x - time).sin(), ((x + y + time.sin()) * 0.5).sin(), (y + time).sin()], dim=1)
    intensity = 6.4 * strength
    return planes.cut((1 - intensity / 255) * levels_BCHW.double() + intensity * waves)
