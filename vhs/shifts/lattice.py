"""Perlin noise, of ImageNet-C-bar.

Levels are uint8; `key` is the 64-bit hash of (seed, corruption, severity); strength is the source's severity, 0 to 10.
Letters: B images, C channels, H height, W width, P = 256 gradients, Y and X lattice points along an axis, S a side.
Definition: Mintun, Kirillov & Xie 2021 (arXiv:2102.11273), facebookresearch/augmentation-corruption (MIT),
imagenet_c_bar/corrupt.py and experiments/overlap/augmentations/utils/noise.py.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from vhs.shifts import fields, planes

GRADIENTS = 256
OCTAVES = (1, 2, 4, 8, 16)
CELLS = 7
"""Cells of the first octave along the shorter side: 32 px each at 224 px."""


def perlin_noise(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """A blend with grey clouds, turbulence / 2 + 1/2; their share is .05 strength."""
    order, gradients = lattice(keys_B, key)
    cell = planes.side(levels_BCHW) / CELLS
    height, width = levels_BCHW.shape[-2:]
    clouds = torch.zeros(len(keys_B), height, width, dtype=torch.float64, device=keys_B.device)
    for octave in OCTAVES:
        down, across = (weights(size, octave / cell, keys_B.device) for size in (height, width))
        clouds += noise(order, gradients, down, across).abs_() / octave
    clouds = clouds.mul_(0.5).add_(0.5).clamp_(0, 1)[:, None]
    share = 0.05 * strength
    return planes.cut((1 - share) * levels_BCHW.double() + 255 * share * clouds)


def lattice(keys_B: Tensor, key: int) -> tuple[Tensor, Tensor]:
    """(a permutation of the gradients, int64 [B, P]; unit vectors, float64 [B, 2, P]), along rows and columns.

    Vectors are of whole numbers from -256 to 255, as the source draws them; one of length 0 stays so.
    """
    order = fields.words(keys_B, GRADIENTS, key).argsort(dim=1, stable=True)
    drawn = fields.below(fields.words(keys_B, 2 * GRADIENTS, key, stream=1), 2 * GRADIENTS) - GRADIENTS
    vectors = drawn.double().view(-1, 2, GRADIENTS)
    return order, vectors / vectors.square().sum(1, keepdim=True).sqrt().clamp(min=1)


def noise(
    order_BP: Tensor, gradients_B2P: Tensor, down: tuple[Tensor, Tensor], across: tuple[Tensor, Tensor]
) -> Tensor:
    """float64 [B, H, W]: 1.5 times the gradients' heights at each pixel, blended over the corners of its cell."""
    y, x = (torch.arange(part[0].shape[1], device=order_BP.device) % GRADIENTS for part in (down, across))
    place = (order_BP.index_select(1, y)[..., None] + x) % GRADIENTS
    chosen = order_BP.gather(1, place.flatten(1))[:, None].expand(-1, 2, -1)
    along, beside = gradients_B2P.gather(2, chosen).unflatten(2, (len(y), len(x))).unbind(1)
    rows = torch.cat([down[1] @ along, down[0] @ beside], dim=-1)
    return rows @ torch.cat([across[0], across[1]], dim=-1).t() * 1.5


@lru_cache(maxsize=32)
def weights(size: int, frequency: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """float64 [S, lattice points]: of each pixel the two points around it have a weight (cubic, adding up to 1), in the
    second table times the distance from the point, in cells."""
    place = torch.arange(size, device=device).double() * frequency
    points = torch.arange(int((size - 1) * frequency) + 2, device=device)
    distance = place[:, None] - points
    near = 1 - distance.abs()
    weight = torch.where(near > 0, near.square() * (3 - 2 * near), 0.0)
    return weight, weight * distance
