"""Apply one corruption to a batch of images.

Letters: B images, C channels (1 or 3), H height, W width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vhs.seeds import hash64
from vhs.shifts import (
    blur,
    caustics,
    covers,
    digital,
    filters,
    lattice,
    noise,
    sparkles,
    spatter,
    spectra,
    splines,
    texture_shape,
    warps,
    waves,
    weather,
)
from vhs.shifts.kinds import CORRUPTIONS, Corruption
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
    kind = CORRUPTIONS[name]
    strength = kind.strength(severity, (height, width))
    key = hash64(seed, name, severity)
    slices = kind.slices * SLICE_ELEMENTS // (3 * height * width)
    step = max(1, slices) if images_BCHW.device.type == "cpu" else len(images_BCHW)
    grey = images_BCHW.shape[1] == 1
    out = torch.empty_like(images_BCHW)
    for start in range(0, len(images_BCHW), step):
        part = slice(start, start + step)
        levels = images_BCHW[part]
        if grey and not kind.channelwise:
            levels = levels.expand(-1, 3, -1, -1)
        result = _apply(levels, keys_B[part], kind, key, strength, textures)
        out[part] = result if result.shape[1] == out.shape[1] else luminance(result)
    return out


def luminance(images_BCHW: Tensor) -> Tensor:
    """ITU-R 601 luminance of uint8 RGB, in Pillow's integer arithmetic; uint8 [B, 1, H, W]."""
    red, green, blue = images_BCHW.int().unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).to(torch.uint8)[:, None]


def _apply(
    levels_BCHW: Tensor, keys_B: Tensor, kind: Corruption, key: int, strength: Any, textures: Textures | None
) -> Tensor:
    """uint8 to uint8."""
    function = getattr(MODULES[kind.module], kind.name)
    drawn = (keys_B, key) if kind.random else ()
    more = ((textures or procedural()).scale(strength[2]),) if kind.textures else ()
    if kind.on_levels:
        return function(levels_BCHW, *drawn, strength, *more)
    return filters.to_levels(function(levels_BCHW.float().div_(255), *drawn, strength, *more))


MODULES = {
    "noise": noise, "blur": blur, "weather": weather, "digital": digital, "spatter": spatter,
    "texture_shape": texture_shape, "waves": waves, "spectra": spectra, "lattice": lattice, "sparkles": sparkles,
    "caustics": caustics, "covers": covers, "warps": warps, "splines": splines,
}  # fmt: skip
"""Where the function of each of kinds.CORRUPTIONS stands under its name."""
