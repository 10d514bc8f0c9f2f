"""The blur corruptions.

Letters: B images, C channels, H height, W width, P = H * W pixels.
Images are float32 in [0, 1], levels uint8; `key` is the 64-bit hash of (seed, corruption, severity).
Definitions: Hendrycks & Dietterich 2019, hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py.
"""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np
import torch
from torch import Tensor

from vhs.shifts import fields, filters

JUMPS = 6
"""Doublings of glass blur's pointers where a device is not asked: chains of 2^6 copies; odds are below 1/2 a step."""
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
    levels = filters.blur(images_BCHW, sigma).mul_(255).add_(FLAT).floor_()
    height, width = images_BCHW.shape[-2:]
    copies = [
        copied_from(*glass_steps(fields.words(keys_B, height * width, key, number), reach), (height, width), reach)
        for number in range(passes)
    ]
    index = reduce(fields.pick_rows, copies)
    shuffled = fields.pick_rows(levels.flatten(2), index[:, None])
    return filters.blur(shuffled.view_as(levels).div_(255), sigma).add_(FLAT / 255)


def glass_steps(words_BP: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """(dy, dx) int32 in [-reach, reach) from the two halves of each word."""
    return fields.below(words_BP >> 16, 2 * reach).sub_(reach), fields.below(words_BP, 2 * reach).sub_(reach)


def copied_from(dy_BP: Tensor, dx_BP: Tensor, size: tuple[int, int], reach: int) -> Tensor:
    """int32 [B, P]: which pixel of the image before the pass each pixel holds after it.

    The source visits pixels from the last to the first, those nearer than `reach` to the edge left out,
    and each takes the present value of the pixel at its offset. A pixel visited before holds what it
    took itself; following such pointers replaces the loop.
    """
    here, inside = _scan(size, reach, dy_BP.device)
    source = (dy_BP * size[1]).add_(dx_BP).mul_(inside).add_(here)
    if reach == 1:  # offsets never point forward
        return source
    return _chained(source, here) if source.device.type == "cpu" else _doubled(source, here)


def _chained(source_BP: Tensor, here_P: Tensor) -> Tensor:
    """Pointers that go forward, to pixels visited before, followed to their ends; each step only those that go on."""
    source, here = source_BP.numpy(), here_P.numpy()
    out = source.copy()
    for held, pointers in zip(out, source, strict=True):
        going = np.flatnonzero(pointers > here)
        node = pointers.take(going)
        while len(going):
            following = pointers.take(node)
            held[going] = following
            on = np.flatnonzero(following > node)
            going, node = going.take(on), following.take(on)
    return torch.from_numpy(out)


def _doubled(source_BP: Tensor, here_P: Tensor) -> Tensor:
    """The same on a device that is not asked where pointers end: all are followed, each time twice as far."""
    pixels = len(here_P)
    # Nodes 0..P-1 are pixels after their visit, P..2P-1 the image before the pass, where pointers end.
    visited = source_BP > here_P
    pointer = torch.cat([source_BP + pixels * ~visited, (here_P + pixels).expand_as(source_BP)], dim=1)
    for _ in range(JUMPS):
        pointer = fields.pick_rows(pointer, pointer)
    return pointer[:, :pixels] - pixels


@lru_cache(maxsize=16)
def _scan(size: tuple[int, int], reach: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """int32: pixel numbers, and 1 where the source's loops visit: rows and columns reach + 1 to side - reach."""
    y, x = torch.arange(size[0])[:, None], torch.arange(size[1])
    inside = (y > reach) & (y <= size[0] - reach) & (x > reach) & (x <= size[1] - reach)
    return torch.arange(size[0] * size[1], dtype=torch.int32, device=device), inside.flatten().int().to(device)


def motion_blur(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: tuple[float, float]) -> Tensor:
    """ImageMagick's motion blur of radius and sigma `strength`, at an angle of -45 to 45 degrees. uint8 in and out."""
    angles = fields.uniform(fields.words(keys_B, 1, key))[:, 0].double() * 90 - 45
    return filters.motion_blur(levels_BCHW.float(), angles, *strength).short().to(torch.uint8)


def zoom_blur(levels_BCHW: Tensor, strength: tuple[float, ...]) -> Tensor:
    """The mean of the image and its enlargements by each factor of `strength`. uint8 in and out."""
    images = levels_BCHW.contiguous(memory_format=torch.channels_last).float().div_(255)
    out = images.clone()
    for factor in strength:
        out += filters.zoom(images, factor)
    return filters.to_levels(out.div_(len(strength) + 1).add_(FLAT / 255))
