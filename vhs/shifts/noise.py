"""The noise corruptions: pixel = f(image, random field).

Letters: B images, C = 3 channels, H height, W width.
Images are float32 in [0, 1]; `key` is the 64-bit hash of (seed, corruption, severity).
Definitions: Hendrycks & Dietterich 2019, hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from vhs.shifts import fields


def gaussian_noise(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """x + N(0, strength)."""
    return _normals(images_BCHW, keys_B, key).mul_(strength).add_(images_BCHW)


def speckle_noise(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """x + x * N(0, strength)."""
    return _normals(images_BCHW, keys_B, key).mul_(strength).add_(1).mul_(images_BCHW)


def shot_noise(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """Poisson(x * strength) / strength; x is a grey level of 256, so there are 256 rates."""
    field = fields.words(keys_B, images_BCHW[0].numel(), key)
    levels = (images_BCHW * 255).round_().int().flatten(1)
    draws = fields.poisson(field, levels, _shot_rates(strength))
    return draws.float().div_(strength).view_as(images_BCHW)


def impulse_noise(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """Each value becomes, with probability `strength`, 0 or 1 at equal odds (scikit-image's "s&p")."""
    count = images_BCHW[0].numel()
    hit = fields.uniform(fields.words(keys_B, count, key, stream=0)).view_as(images_BCHW) <= strength
    salt = fields.words(keys_B, count, key, stream=1).view_as(images_BCHW) >= 0  # the top bit: a fair coin
    return torch.where(hit, salt.float(), images_BCHW)


def _normals(images_BCHW: Tensor, keys_B: Tensor, key: int) -> Tensor:
    return fields.normal(fields.words(keys_B, images_BCHW[0].numel(), key)).view_as(images_BCHW)


@lru_cache(maxsize=8)
def _shot_rates(strength: float) -> tuple[float, ...]:
    return tuple(level / 255 * strength for level in range(256))
