"""Apply one corruption to a batch of images.

Letters: B images, C channels (1 or 3), H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vhs.seeds import hash64
from vhs.shifts import digital, noise
from vhs.shifts.parameters import TABLES, nearest_table

IMAGENET_C = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""The 15 corruptions of ImageNet-C by category, in the published order."""

CATEGORY = {name: category for category, names in IMAGENET_C.items() for name in names}
SEVERITIES = (1, 2, 3, 4, 5)
SLICE_ELEMENTS = 1 << 18
"""Images are corrupted in slices of about this many values, which stay in a CPU's caches."""


def corrupt(images_BCHW: Tensor, keys_B: Tensor, name: str, severity: int, seed: int) -> Tensor:
    """The images under corruption `name`, one of CORRUPTIONS, at `severity` 1 to 5.

    images_BCHW: uint8. Grey images are replicated to three channels, corrupted, and brought back to
    luminance. keys_B: int64 sample hashes. Strengths are those published for the image side nearest
    to these images' shorter side. The result of an image depends on nothing but the image, its key
    and the arguments. Values are clipped and cut to whole grey levels, as the original writes them.
    Returns uint8 of the same shape.
    """
    strength = TABLES[nearest_table(*images_BCHW.shape[-2:])][name][severity - 1]
    key = hash64(seed, name, severity)
    step = max(1, SLICE_ELEMENTS // (3 * images_BCHW[0, 0].numel()))
    out = torch.empty_like(images_BCHW)
    for start in range(0, len(images_BCHW), step):
        part = slice(start, start + step)
        rgb = images_BCHW[part].expand(-1, 3, -1, -1).float() / 255
        result = CORRUPTIONS[name](rgb, keys_B[part], key, strength)
        levels = (result.clamp(0, 1) * 255).to(torch.uint8)
        out[part] = levels if images_BCHW.shape[1] == 3 else luminance(levels)
    return out


def luminance(images_BCHW: Tensor) -> Tensor:
    """ITU-R 601 luminance of uint8 RGB, in Pillow's integer arithmetic; uint8 [B, 1, H, W]."""
    red, green, blue = images_BCHW.int().unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.uint8)[:, None]


def _deterministic(function: Callable[[Tensor, float], Tensor]) -> Callable[..., Tensor]:
    def call(images_BCHW: Tensor, _keys_B: Tensor, _key: int, strength: float) -> Tensor:
        return function(images_BCHW, strength)

    return call


CORRUPTIONS: dict[str, Callable[[Tensor, Tensor, int, float], Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "brightness": _deterministic(digital.brightness),
    "contrast": _deterministic(digital.contrast),
    "pixelate": _deterministic(digital.pixelate),
    "jpeg_compression": _deterministic(digital.jpeg_compression),
}
