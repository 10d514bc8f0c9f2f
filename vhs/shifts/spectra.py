"""Noise with a given spectrum, of ImageNet-C-bar.

Levels are uint8; `key` is the 64-bit hash of (seed, corruption, severity); strength is the source's severity, 0 to 10.
Letters: B images, C channels, H height, W width, P planes an image, K independent phases.
Definitions: Mintun, Kirillov & Xie 2021 (arXiv:2102.11273), facebookresearch/augmentation-corruption (MIT),
imagenet_c_bar/corrupt.py.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.shifts import planes


def blue_noise_sample(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """Pixels turn black where blue noise (amplitude ~ frequency) is at most .3 strength - 2.5 deviations."""
    height, width = levels_BCHW.shape[-2:]
    noise = coloured(keys_B, key, 1, radius((height, width), keys_B.device))
    return levels_BCHW * (noise > 0.3 * strength - 2.5)


def brownish_noise(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """x + 6.4 strength times noise of amplitude ~ 1 / (frequency^2 + 1) and deviation 1, each channel its own."""
    height, width = levels_BCHW.shape[-2:]
    noise = coloured(keys_B, key, 3, 1 / (radius((height, width), keys_B.device).square() + 1))
    return planes.cut(levels_BCHW + (6.4 * strength) * noise)


def coloured(keys_B: Tensor, key: int, count: int, amplitude_HW: Tensor) -> Tensor:
    """float64 [B, P, H, W]: noise of random phases and these amplitudes, deviation 1 over a plane.

    The source gives two pixels opposite through the middle of its array one phase, half a pixel beside frequency 0, and
    takes the real part: not the symmetry of a real field, so that pairs of frequencies interfere. That is kept.
    """
    height, width = amplitude_HW.shape
    phases = planes.shares(keys_B, count * (height * width // 2), key).mul_(2 * math.pi).view(len(keys_B), count, -1)
    index = mirror((height, width), keys_B.device).expand(len(keys_B), count, -1)
    parts = (wave.gather(2, index) for wave in with_middle(phases))
    real, imaginary = (part.view(-1, count, height, width).mul_(amplitude_HW) for part in parts)
    noise = torch.fft.ifft2(torch.complex(real, imaginary)).real.contiguous()
    variance = noise.square().mean((-2, -1), keepdim=True) - noise.mean((-2, -1), keepdim=True).square()
    return noise.div_(variance.sqrt_())


def with_middle(phases_BPK: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines, with those of phase 0 behind: the middle pixel's, where sides are odd."""
    padded = F.pad(phases_BPK, (0, 1))
    return padded.cos(), padded.sin_()


@lru_cache(maxsize=16)
def radius(size: tuple[int, int], device: torch.device) -> Tensor:
    """float64 [H, W]: a frequency's distance from the middle, in pixels of a square, at its place in the transform."""
    rows, columns = (((torch.arange(side, device=device) - side / 2) / side).double() for side in size)
    spread = rows.square()[:, None] + columns.square()
    return (spread.sqrt() * min(size)).roll((size[0] // 2, size[1] // 2), (0, 1))


@lru_cache(maxsize=16)
def mirror(size: tuple[int, int], device: torch.device) -> Tensor:
    """int64 [H * W]: which phase each frequency has. Pixels in order have 0, 1, ... up to the middle, then back."""
    count = size[0] * size[1]
    number = torch.arange(count, device=device)
    number = torch.minimum(number, count - 1 - number).view(size)
    return number.roll((size[0] // 2, size[1] // 2), (0, 1)).flatten()
