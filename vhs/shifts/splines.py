"""Rotation and enlargement by cubic B-splines, of CIFAR-10-C-bar, as `scipy.ndimage` does them.

Levels are uint8; strength is the source's severity, 0 to 10.
Letters: B images, C channels, H height, W width, N a side.
Definitions: Mintun, Kirillov & Xie 2021 (arXiv:2102.11273), facebookresearch/augmentation-corruption (MIT),
imagenet_c_bar/corrupt.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.shifts import fields, planes

TURNS = 21
PAD = 2
"""Pixels beyond the edge that a spline reaches; mirrored without the edge."""
SOFT = 1e-4
"""Grey levels added before the cut to whole ones, so that a flat area keeps its level in float32."""


def circular_motion_blur(levels_BCHW: Tensor, strength: float) -> Tensor:
    """The mean of 21 rotations by up to 1.5 strength degrees, weighted by exp(-2 (angle / largest)^2); what comes from
    beyond the edge is black."""
    height, width = levels_BCHW.shape[-2:]
    down, across = (to_splines(side, levels_BCHW.device) for side in (height, width))
    splines = F.pad((down @ levels_BCHW.double() @ across.t()).float(), (PAD,) * 4, mode="reflect")
    out = levels_BCHW.new_zeros(levels_BCHW.shape, dtype=torch.float32)
    for grid, weight in rotations((height, width), math.radians(1.5 * strength), levels_BCHW.device):
        out.addcmul_(planes.read(splines, grid.expand(len(out), -1, -1, -1)), weight)
    return planes.cut(out.add_(SOFT))


@lru_cache(maxsize=1)
def rotations(size: tuple[int, int], largest: float, device: torch.device) -> tuple[tuple[Tensor, Tensor], ...]:
    """Bilinear reads of padded splines: where (float32 [H, W, 2], -1 to 1 over the sides) and with which weight
    (float32 [H, W]). 50 MB at 224 px; a condition has one."""
    places = np.linspace(-1, 1, TURNS)
    weights = np.exp(-2 * places**2) / np.exp(-2 * places**2).sum()
    turns = zip((places * largest).tolist(), weights.tolist(), strict=True)
    return tuple(read for angle, weight in turns for read in _rotation(size, angle, weight, device))


def _rotation(
    size: tuple[int, int], angle: float, weight: float, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """Four weights along an axis are two bilinear reads (Sigg & Hadwiger 2005): 16 taps become four reads."""
    middle = [(side - 1) / 2 for side in size]
    rows, columns = (torch.arange(side, device=device).double() - half for side, half in zip(size, middle, strict=True))
    cosine, sine = math.cos(angle), math.sin(angle)
    at = (
        cosine * rows[:, None] + sine * columns + middle[0],
        cosine * columns - sine * rows[:, None] + middle[1],
    )
    inside = torch.full_like(at[0], weight)
    for part, side in zip(at, size, strict=True):
        inside = inside * ((part >= 0) & (part <= side - 1))
    y_reads, x_reads = (_reads(part + PAD, side + 2 * PAD) for part, side in zip(at, size, strict=True))
    for (y, y_weight), (x, x_weight) in itertools.product(y_reads, x_reads):
        yield torch.stack([x, y], dim=-1).float(), (inside * y_weight * x_weight).float()


def _reads(at: Tensor, side: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Two reads of the spline at `at`, px: the place, from -1 to 1 over the side, and its weight."""
    whole = at.floor()
    first, second, third, fourth = spline_weights(at - whole)
    for place, part, weight in ((whole - 1, second, first + second), (whole + 1, fourth, third + fourth)):
        yield ((place + part / weight) * 2 + 1) / side - 1, weight


def spline_weights(part: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the four pixels around a place that is `part` (0 to 1) behind the second."""
    rest = 1 - part
    second = (4 - 6 * part.square() + 3 * part**3) / 6
    third = (4 - 6 * rest.square() + 3 * rest**3) / 6
    return rest**3 / 6, second, third, part**3 / 6


@lru_cache(maxsize=16)
def to_splines(side: int, device: torch.device) -> Tensor:
    """float64 [N, N]: from pixels to the weights of the splines that go through them, mirrored at the edges."""
    through = np.diag(np.full(side, 4.0)) + np.eye(side, k=1) + np.eye(side, k=-1)
    through[0, 1] = through[-1, -2] = 2
    return torch.from_numpy(np.linalg.inv(through / 6)).to(device)


def transverse_chromatic_abberation(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """One channel stays as large as it is, another is enlarged by .025 strength, the third by .05 strength, which is
    which being drawn; all are smoothed, because pixels are taken for the splines' weights."""
    height, width = levels_BCHW.shape[-2:]
    order = fields.words(keys_B, 3, key).argsort(dim=1, stable=True)
    down, across = (enlargements(side, strength, levels_BCHW.device)[order] for side in (height, width))
    return planes.cut((down @ levels_BCHW.float() @ across.transpose(-1, -2)).add_(0.5 + SOFT))


@lru_cache(maxsize=16)
def enlargements(side: int, strength: float, device: torch.device) -> Tensor:
    """float32 [3, N, N]: the middle of a line enlarged by 1, 1 + .025 and 1 + .05 strength, corner on corner."""
    matrices = np.zeros((3, side, side))
    for matrix, factor in zip(matrices, (1, 1 + 0.025 * strength, 1 + 0.05 * strength), strict=True):
        size = round(side * factor)
        places = torch.arange(size).double()[(size - side) // 2 :][:side] * ((side - 1) / (size - 1))
        whole = places.floor().long().numpy()
        for tap, weight in enumerate(spline_weights(places - places.floor())):
            at = np.abs(whole + tap - 1)
            np.add.at(matrix, (np.arange(side), np.minimum(at, 2 * (side - 1) - at)), weight.numpy())
    return torch.from_numpy(matrices.astype(np.float32)).to(device)
