"""The blur corruptions.

Letters: B images, C channels, H height, W width, P = H * W pixels.
Images are float32 in [0, 1]; `key` is the 64-bit hash of (seed, corruption, severity).
Definitions: Hendrycks & Dietterich 2019, hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from vhs.shifts import fields, filters

JUMPS = 6
"""Doublings of glass blur's pointers: chains of 2^6 copies; a chain grows with odds below 1/2 a step."""
FLAT = 1e-4
"""Grey levels added before the cut to whole ones, so that a flat area keeps its level in float32."""


def gaussian_blur(images_BCHW: Tensor, strength: float) -> Tensor:
    """A Gaussian of `strength` px (scikit-image's: cut at 4 sigma, edges repeated)."""
    return filters.blur(images_BCHW, strength).add_(FLAT / 255)


def defocus_blur(images_BCHW: Tensor, strength: tuple[float, float]) -> Tensor:
    """A disk of radius strength[0] px, its edge softened by a Gaussian of strength[1] px."""
    return filters.convolve(images_BCHW, disk(*strength)).add_(FLAT / 255)


@lru_cache(maxsize=32)
def disk(radius: float, softness: float) -> np.ndarray:
    """float64 [K, K]; K = 17 up to radius 8, as the source has it."""
    reach, taps = (8, 1) if radius <= 8 else (int(radius), 2)
    line = np.arange(-reach, reach + 1)
    kernel = (line[:, None] ** 2 + line**2 <= radius**2).astype(float)
    kernel /= kernel.sum()
    soft = np.array(filters.gaussian_kernel(softness, taps))
    for _ in range(2):
        padded = np.pad(kernel, ((taps, taps), (0, 0)), mode="reflect")
        kernel = sum(w * padded[i : i + len(line)] for i, w in enumerate(soft)).T
    return np.ascontiguousarray(kernel)


def glass_blur(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: tuple[float, int, int]) -> Tensor:
    """Blur, copy pixels from up to strength[1] px away strength[2] times over, blur; sigma is strength[0].

    The source means to swap pixels, but NumPy's views make it a copy; all published numbers include that.
    """
    sigma, reach, passes = strength
    levels = (filters.blur(images_BCHW, sigma) * 255).add_(FLAT).floor_()
    height, width = images_BCHW.shape[-2:]
    index = torch.arange(height * width, dtype=torch.int32, device=keys_B.device).expand(len(keys_B), -1)
    for number in range(passes):
        steps = glass_steps(fields.words(keys_B, height * width, key, number), reach)
        index = index.gather(1, copied_from(*steps, (height, width), reach).long())
    shuffled = levels.flatten(2).gather(2, index.long()[:, None].expand(-1, levels.shape[1], -1))
    return filters.blur(shuffled.view_as(levels).div_(255), sigma).add_(FLAT / 255)


def glass_steps(words_BP: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """(dy, dx) int32 in [-reach, reach) from the two halves of each word."""
    return fields.below(words_BP >> 16, 2 * reach) - reach, fields.below(words_BP, 2 * reach) - reach


def copied_from(dy_BP: Tensor, dx_BP: Tensor, size: tuple[int, int], reach: int) -> Tensor:
    """int32 [B, P]: which pixel of the image before the pass each pixel holds after it.

    The source visits pixels from the last to the first, those nearer than `reach` to the edge left out,
    and each takes the present value of the pixel at its offset. A pixel visited before holds what it
    took itself; following such pointers, doubled JUMPS times, replaces the loop.
    """
    height, width = size
    pixels = height * width
    here, inside = _scan(size, reach, dy_BP.device)
    source = torch.where(inside, here + dy_BP * width + dx_BP, here)
    visited = (source > here) & fields.pick(inside, source.clamp_(0, pixels - 1))
    # Nodes 0..P-1 are pixels after their visit, P..2P-1 the image before the pass, where pointers end.
    pointer = torch.cat([source + pixels * ~visited, (here + pixels).expand_as(source)], dim=1)
    for _ in range(JUMPS if reach > 1 else 0):  # with reach 1 offsets never point forward
        pointer = _follow(pointer)
    return pointer[:, :pixels] - pixels


def _follow(pointer_BQ: Tensor) -> Tensor:
    if len(pointer_BQ) == 1:
        return fields.pick(pointer_BQ[0], pointer_BQ)
    return pointer_BQ.gather(1, pointer_BQ.long())


@lru_cache(maxsize=16)
def _scan(size: tuple[int, int], reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixel numbers, int32, and whether the source's loops visit them: rows and columns reach + 1 to side - reach."""
    y, x = torch.arange(size[0])[:, None], torch.arange(size[1])
    inside = (y > reach) & (y <= size[0] - reach) & (x > reach) & (x <= size[1] - reach)
    return torch.arange(size[0] * size[1], dtype=torch.int32, device=device), inside.flatten().to(device)


def motion_blur(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: tuple[float, float]) -> Tensor:
    """ImageMagick's motion blur of radius and sigma `strength`, at an angle of -45 to 45 degrees."""
    angles = fields.uniform(fields.words(keys_B, 1, key))[:, 0].double() * 90 - 45
    return filters.motion_blur(images_BCHW * 255, angles, *strength).add_(FLAT).div_(255)


def zoom_blur(images_BCHW: Tensor, strength: tuple[float, ...]) -> Tensor:
    """The mean of the image and its enlargements by each factor of `strength`."""
    images = images_BCHW.contiguous(memory_format=torch.channels_last)
    out = images.clone()
    for factor in strength:
        out += filters.zoom(images, factor)
    return out.div_(len(strength) + 1).add_(FLAT / 255)
