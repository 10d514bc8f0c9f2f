"""Apply one corruption to a batch of images.

Letters: B images, C channels (1 or 3), H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vhs.seeds import hash64
from vhs.shifts import blur, digital, noise, spatter, texture_shape, weather
from vhs.shifts.parameters import TABLES, TEXTURE_SHAPE, nearest_table
from vhs.shifts.textures import Textures, procedural

SLICE_ELEMENTS = 1 << 18
"""On a CPU images are corrupted in slices of about this many values, which stay in its caches."""
MIN_SIDE = 28


def corrupt(
    images_BCHW: Tensor, keys_B: Tensor, name: str, severity: int, seed: int, textures: Textures | None = None
) -> Tensor:
    """The images under corruption `name`, one of CORRUPTIONS, at `severity` 1 to 5.

    images_BCHW: uint8, sides of MIN_SIDE px or more. Grey images are replicated to three channels,
    corrupted, and brought back to luminance. keys_B: int64 sample hashes. Strengths are those
    published for the image side nearest to these images' shorter side; `patch_shuffle` takes the
    patches along a side for its severity. textures: of frost; without them procedural ones.
    The result of an image depends on nothing but the image, its key and the arguments. Values are
    clipped and cut to whole grey levels, as the original writes them. Returns uint8 of the same shape.
    """
    height, width = images_BCHW.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"images of {height}x{width} px; corruptions need {MIN_SIDE} px or more")
    strength = strength_of(name, severity, (height, width))
    key = hash64(seed, name, severity)
    step = max(1, SLICE_ELEMENTS // (3 * height * width)) if images_BCHW.device.type == "cpu" else len(images_BCHW)
    grey = images_BCHW.shape[1] == 1
    out = torch.empty_like(images_BCHW)
    for start in range(0, len(images_BCHW), step):
        part = slice(start, start + step)
        levels = images_BCHW[part]
        if grey and name not in CHANNELWISE:
            levels = levels.expand(-1, 3, -1, -1)
        result = _corrupted(levels, keys_B[part], name, key, strength, textures)
        out[part] = result if result.shape[1] == out.shape[1] else luminance(result)
    return out


def strength_of(name: str, severity: int, size: tuple[int, int]) -> Any:
    """The parameters of a corruption for images of `size` (height, width), px."""
    if name == "patch_shuffle":
        return severity
    table = TEXTURE_SHAPE if name in TEXTURE_SHAPE else TABLES[nearest_table(*size)]
    return table[name][severity - 1]


def luminance(images_BCHW: Tensor) -> Tensor:
    """ITU-R 601 luminance of uint8 RGB, in Pillow's integer arithmetic; uint8 [B, 1, H, W]."""
    red, green, blue = images_BCHW.int().unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.uint8)[:, None]


def _corrupted(
    levels_BCHW: Tensor, keys_B: Tensor, name: str, key: int, strength: Any, textures: Textures | None
) -> Tensor:
    """uint8 to uint8."""
    if name in ON_LEVELS:
        return CORRUPTIONS[name](levels_BCHW, keys_B, key, strength)
    images = levels_BCHW.float() / 255
    if name == "frost":
        result = weather.frost(images, keys_B, key, strength, (textures or procedural()).scaled(strength[2]))
    else:
        result = CORRUPTIONS[name](images, keys_B, key, strength)
    return (result * 255).clamp_(0, 255).to(torch.uint8)


def _deterministic(function: Callable[[Tensor, Any], Tensor]) -> Callable[..., Tensor]:
    def call(images_BCHW: Tensor, _keys_B: Tensor, _key: int, strength: Any) -> Tensor:
        return function(images_BCHW, strength)

    return call


CORRUPTIONS: dict[str, Callable[..., Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": _deterministic(blur.defocus_blur),
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": _deterministic(blur.zoom_blur),
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": _deterministic(weather.brightness),
    "contrast": _deterministic(digital.contrast),
    "elastic_transform": digital.elastic_transform,
    "pixelate": _deterministic(digital.pixelate),
    "jpeg_compression": _deterministic(digital.jpeg_compression),
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": _deterministic(blur.gaussian_blur),
    "spatter": spatter.spatter,
    "saturate": _deterministic(digital.saturate),
    "grayscale": _deterministic(texture_shape.grayscale),
    "low_pass": _deterministic(texture_shape.low_pass),
    "high_pass": _deterministic(texture_shape.high_pass),
    "patch_shuffle": texture_shape.patch_shuffle,
}
"""Every corruption by name; f(images, keys, key of the field, strength), frost also takes its textures."""

ON_LEVELS = frozenset({"pixelate", "jpeg_compression", "patch_shuffle"})
"""Those that take and give uint8; the others float32 in [0, 1]."""

CHANNELWISE = frozenset(
    {"defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "fog", "brightness", "contrast", "elastic_transform"}
    | {"gaussian_blur", "low_pass", "high_pass", "grayscale"}
    | ON_LEVELS
)
"""Those under which three equal channels stay equal, so that one does for a grey image."""
