"""Frost textures: photographs handed in by the caller, or procedural ones of like statistics.

Letters: h, w a texture's height and width, P all pixels of all textures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor

PHOTOGRAPHS, PROCEDURAL = "photographs", "procedural"
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


@dataclass(frozen=True)
class Look:
    """What was measured of one of the five photographs that ImageNet-C uses.

    size: px; luminance: its QUANTILES, grey levels; slope: of the log power spectrum over log frequency;
    colours: mean RGB of the darkest tenth, the middle and the brightest tenth.
    """

    size: tuple[int, int]
    luminance: tuple[int, ...]
    slope: float
    colours: tuple[tuple[int, int, int], ...]


_FROST2 = Look(
    (315, 560), (56, 165, 193, 208, 220, 235, 254), -1.55, ((157, 160, 167), (204, 209, 218), (232, 237, 244))
)
LOOKS = (
    Look((600, 900), (81, 102, 116, 128, 141, 163, 220), -1.49, ((44, 123, 143), (73, 148, 166), (129, 179, 189))),
    _FROST2,
    _FROST2,  # frost2 and frost3 are one picture in two files
    Look((350, 527), (22, 102, 132, 150, 167, 196, 254), -0.96, ((88, 102, 112), (138, 153, 165), (189, 205, 219))),
    Look((495, 660), (23, 58, 89, 117, 149, 202, 255), -1.75, ((47, 58, 71), (107, 119, 131), (200, 208, 215))),
)


@dataclass(frozen=True, eq=False)
class Textures:
    """Several textures, uint8 [h, w, 3] RGB each, and where they come from: PHOTOGRAPHS or PROCEDURAL."""

    images: tuple[np.ndarray, ...]
    origin: str

    def scale(self, factor: float) -> Textures:
        """Every texture at `factor` of its size; kept, since each tile asks for it."""
        if factor not in self._by_factor:
            self._by_factor[factor] = Textures(tuple(reduce(image, factor) for image in self.images), self.origin)
        return self._by_factor[factor]

    @cached_property
    def _by_factor(self) -> dict[float, Textures]:
        return {1: self}

    def geometry(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """(heights, widths, first pixels in `pixels_P3`), int64, one entry a texture."""
        if device not in self._geometry:
            self._geometry[device] = self._place(device)
        return self._geometry[device]

    def _place(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [image.shape[:2] for image in self.images]
        starts = np.cumsum([0] + [height * width for height, width in sizes[:-1]])
        return (
            torch.tensor([height for height, _ in sizes], device=device),
            torch.tensor([width for _, width in sizes], device=device),
            torch.from_numpy(starts).to(device),
        )

    def pixels_P3(self, device: torch.device) -> Tensor:
        """uint8 [P, 3]: the pixels of all textures in raster order."""
        if device not in self._pixels:
            rows = np.concatenate([image.reshape(-1, 3) for image in self.images])
            self._pixels[device] = torch.from_numpy(rows).to(device)
        return self._pixels[device]

    @cached_property
    def _pixels(self) -> dict[torch.device, Tensor]:
        return {}

    @cached_property
    def _geometry(self) -> dict[torch.device, tuple[Tensor, Tensor, Tensor]]:
        return {}


@cache
def procedural() -> Textures:
    """Five textures with the size, brightness distribution, colours and spectral slope of the photographs."""
    return Textures(tuple(_draw(look, number) for number, look in enumerate(LOOKS)), PROCEDURAL)


def _draw(look: Look, seed: int) -> np.ndarray:
    height, width = look.size
    noise = np.random.Generator(np.random.Philox(key=seed)).standard_normal(look.size)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(noise) * frequency ** (look.slope / 2), s=look.size)
    rank = np.empty(field.size)
    rank[field.argsort(axis=None)] = (np.arange(field.size) + 0.5) / field.size
    grey = np.interp(rank, QUANTILES, look.luminance)
    knots = np.interp((0.05, 0.5, 0.95), QUANTILES, look.luminance)
    tint = [np.interp(grey, knots, [c[i] for c in look.colours]) - np.interp(grey, knots, knots) for i in range(3)]
    rgb = grey[:, None] + np.stack(tint, axis=-1)
    return rgb.clip(0, 255).round().astype(np.uint8).reshape(height, width, 3)


def reduce(image_hw3: np.ndarray, factor: float) -> np.ndarray:
    """Bilinear at `factor` of the size without a low-pass before it, as OpenCV's resize does by default."""
    for axis in (0, 1):
        size = image_hw3.shape[axis]
        place = ((np.arange(round(size * factor)) + 0.5) / factor - 0.5).clip(0, size - 1)
        low = place.astype(int)
        share = (place - low).reshape(-1, *[1] * (2 - axis))
        high = np.minimum(low + 1, size - 1)
        image_hw3 = image_hw3.take(low, axis) * (1 - share) + image_hw3.take(high, axis) * share
    return np.floor(image_hw3 + 0.5).astype(np.uint8)
