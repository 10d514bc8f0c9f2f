"""Water over an image, of ImageNet-C-bar.

Levels are uint8; `key` is the 64-bit hash of (seed, corruption, severity); strength is the source's severity, 0 to 10.
Letters: B images, C channels, H height, W width. Definition: Mintun, Kirillov & Xie 2021 (arXiv:2102.11273),
facebookresearch/augmentation-corruption (MIT), imagenet_c_bar/corrupt.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.shifts import filters, planes

ETA = 4.0
"""Refractive index of the water."""
CAUSTIC, ROUNDS = 0.005, 5
"""Brightness of the lines of light, and how often they are folded."""


def caustic_refraction(levels_BCHW: Tensor, keys_B: Tensor, key: int, strength: float) -> Tensor:
    """The image through water whose surface is a pattern of caustics: refracted by up to .05 strength of the side, and
    lit by .2 strength times the surface's slope."""
    draws = planes.parameters(keys_B, 2, key)
    side = planes.side(levels_BCHW)
    surface = caustics(levels_BCHW, planes.between(draws[0], 0.5, 2), planes.between(draws[1], 0.75, 1.25) * side)
    down, across = (
        filters.blur_matrix(size, 1.0, 4, "reflect", keys_B.device).double() for size in levels_BCHW.shape[-2:]
    )
    padded = F.pad(down @ surface @ across.t(), (1, 1, 1, 1))
    dy = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    dx = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    pull = refraction(dy, dx) * (0.05 * strength * side)
    rows, columns = planes.coordinates(levels_BCHW)
    moved = [at + ((part * pull) * 1000).round_() / 1000 for at, part in ((rows, dy), (columns, dx))]
    image = planes.resample(levels_BCHW.float() / 255, *moved)  # in float32, as the source has it
    light = (dy - dx) * (0.2 * strength)
    return planes.cut((image + light[:, None]).clamp_(0, 1) * 255 + planes.FLAT)


def refraction(dy_BHW: Tensor, dx_BHW: Tensor) -> Tensor:
    """By what a surface of this slope times the slope is the ray displaced that comes from straight above.

    With n the normal, (dy, dx, 1) over its length, and h the sine of its angle, Snell's law turns the ray to
    (sqrt(1 - h^2 / eta^2) - n_z / eta) n_xy; where n_z is within .001 of 1 the source leaves it as it is.
    """
    upright = (dy_BHW.square() + dx_BHW.square()).add_(1).rsqrt_()
    sine = 1 - upright.square()
    turned = (1 - sine / ETA**2).sqrt_().sub_(upright / ETA).mul_(upright)
    return torch.where(upright >= 1 - 1e-3, 0.0, turned)


def caustics(images_BCHW: Tensor, time_B11: Tensor, size_B11: Tensor) -> Tensor:
    """float64 [B, H, W] in [0, 1]: lines of light as on the ground of a pool.

    Each round moves (y, x) to its start plus (cos(t - y) + sin(t + x), cos(t + y) + sin(t - x)); sums of angles are
    written out, since the sines of a round are those of the next one's start.
    """
    start = [(at / size_B11) % 1 * 6.28318530718 - 250 for at in planes.coordinates(images_BCHW)]
    bright = [(at * CAUSTIC).square_() for at in start]
    y, x = start
    light = torch.ones_like(time_B11)
    for number in range(ROUNDS):
        t = time_B11 * (1 - 3.5 / (number + 1))
        sine, cosine = t.sin(), t.cos()
        even, odd = y.cos() * cosine + x.cos() * sine, y.sin() * sine + x.sin() * cosine
        y, x = (even + odd).add_(start[0]), even.sub_(odd).add_(start[1])
        far = bright[0] / (y + t).sin_().square_() + bright[1] / (x + t).cos_().square_()
        light = far.rsqrt_().add_(light)
    return (1.17 - (light / ROUNDS).pow_(1.4)).square_().square_().square_().clamp_(0, 1)
