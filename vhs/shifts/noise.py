"""The noise corruptions: pixel = f(image, random field).

Letters: B images, C = 3 channels, H height, W width.
Images are float32 in [0, 1], levels uint8; `key` is the 64-bit hash of (seed, corruption, severity).
Definitions: Hendrycks & Dietterich 2019, hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vhs.shifts import fields, filters


def gaussian_noise(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """x + N(0, strength)."""
    return _normals(images_BCHW, keys_B, key).mul_(strength).add_(images_BCHW)


def speckle_noise(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """x + x * N(0, strength)."""
    return _normals(images_BCHW, keys_B, key).mul_(strength).add_(1).mul_(images_BCHW)


def shot_noise(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """Poisson(x * strength) / strength; x is a grey level of 256, so there are 256 rates. uint8 in and out."""
    field = fields.words(keys_B, levels_BCHW[0].numel(), key)
    draws = fields.poisson(field, levels_BCHW.flatten(1).int(), _shot_rates(strength))
    return filters.to_levels(draws.float().div_(strength)).view_as(levels_BCHW)


def impulse_noise(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """Each value becomes, with probability `strength`, 0 or 255 at equal odds (scikit-image's "s&p"). uint8 in and out.

    A word hits where its top 24 bits, as a share of 2^24, are `strength` or less; another's top bit is the fair coin.
    Signs spread to masks, since choosing by a random truth value takes a CPU longer than all else here.
    """
    count = levels_BCHW[0].numel()
    misses = int(float(np.float32(strength)) * 2**24) + 1  # the least number that does
    hit = fields.words(keys_B, count, key, stream=0).bitwise_right_shift_(8).bitwise_and_(0xFFFFFF).sub_(misses)
    salt = fields.words(keys_B, count, key, stream=1).bitwise_not_()
    hit_BCHW, salt_BCHW = (signs.bitwise_right_shift_(31).to(torch.uint8).view_as(levels_BCHW) for signs in (hit, salt))
    return levels_BCHW ^ ((levels_BCHW ^ salt_BCHW) & hit_BCHW)


def _normals(images_BCHW: Tensor, keys_B: Tensor, key: int) -> Tensor:
    return fields.normal(fields.words(keys_B, images_BCHW[0].numel(), key)).view_as(images_BCHW)


@lru_cache(maxsize=8)
def _shot_rates(strength: float) -> tuple[float, ...]:
    return tuple(level / 255 * strength for level in range(256))
