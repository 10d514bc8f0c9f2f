"""The corruptions, a row each: what is published of them, and what their functions take. Does not import torch.

Strengths are of severities 1 to 5, by image side in px. Source: hendrycks/robustness @8190fe3, ImageNet-C/create_c:
make_cifar_c.py (32), make_tinyimagenet_c.py (64), make_imagenet_c.py (224), make_imagenet_c_inception.py (299). The
order inside a tuple is the source's; what it means stands with each function. Frost has the factor by which the
photographs are reduced as a third number. Texture and shape filters are ours, the same at any size: cut-off frequencies
in cycles an image (shorter side), patches along a side. Those of C-bar: facebookresearch/augmentation-corruption
@c7d90e3, imagenet_c_bar/cifar10_c_bar.csv (32) and imagenet_c_bar.csv (224), numbers from 0 to 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FAMILY, FAMILY_EXTRA, TEXTURE_SHAPE = "imagenet-c", "imagenet-c-extra", "texture-shape"
"""What `--shift` calls the 15, the 4 that the benchmark keeps for validation, and what keeps texture or shape alone."""
IMAGENET_C_BAR, CIFAR_C_BAR = "imagenet-c-bar", "cifar-c-bar"
"""The two tens of Mintun, Kirillov & Xie 2021, chosen to be unlike those; five are in both."""
ANY_SIZE = 0
"""The side under which strengths stand that are the same at every size."""


@dataclass(frozen=True)
class Corruption:
    """One corruption. category: of ImageNet-C's four, None elsewhere; module: of this package, where a function has the
    corruption's name; strengths: image side, px -> those of severities 1 to 5; also: another family that has it.

    random: the function draws fields, by sample and key; on_levels: it takes uint8 instead of float32 in [0, 1];
    channelwise: three equal channels stay equal, so that one does for a grey image; textures: it takes those of frost;
    slices: how many slices of a batch it takes at once on a CPU.
    """

    name: str
    family: str
    category: str | None
    module: str
    strengths: Mapping[int, tuple[Any, ...]]
    random: bool = False
    on_levels: bool = False
    channelwise: bool = False
    textures: bool = False
    also: str | None = None
    slices: int = 1

    def strength(self, severity: int, size: tuple[int, int]) -> Any:
        """The parameters for images of `size` (height, width), px; `patch_shuffle` takes its patches for a severity."""
        if self.name == "patch_shuffle":
            return severity
        return self.strengths[self.side(*size)][severity - 1]

    def side(self, height: int, width: int) -> int:
        """The side of this corruption's strengths that is nearest, in ratio, to this image's shorter side."""
        side = min(height, width)
        return min(self.strengths, key=lambda published: max(side, published) / max(min(side, published), 1))


def _zooms(*ends: tuple[float, float]) -> tuple[tuple[float, ...], ...]:
    """Zoom factors from 1 up to each end, as the source's np.arange gives them, rounding included."""
    return tuple(tuple(np.arange(1, stop, step).tolist()) for stop, step in ends)


def _elastic(side: int, *fractions: tuple[float, float, float]) -> tuple[tuple[float, ...], ...]:
    """Elastic (alpha, sigma, affine) in px. At 224 px the source multiplies by 244, a slip that all results include."""
    return tuple(tuple(side * part for part in three) for three in fractions)


def _c_bar(
    name: str, module: str, strengths: Mapping[int, tuple[float, ...]], *, random: bool = True, channelwise: bool = True
) -> Corruption:
    """A corruption of C-bar: of ImageNet's family if there are strengths for 224 px, of CIFAR's if there are for 32."""
    families = [family for side, family in ((224, IMAGENET_C_BAR), (32, CIFAR_C_BAR)) if side in strengths]
    return Corruption(
        name, families[0], None, module, strengths, random=random, on_levels=True, channelwise=channelwise,
        also=families[-1] if len(families) > 1 else None,
    )  # fmt: skip


# fmt: off
CORRUPTIONS = {
    corruption.name: corruption
    for corruption in (
        Corruption("gaussian_noise", FAMILY, "noise", "noise", {
            32: (0.04, 0.06, 0.08, 0.09, 0.1),
            64: (0.04, 0.08, 0.12, 0.15, 0.18),
            224: (0.08, 0.12, 0.18, 0.26, 0.38),
            299: (0.09, 0.13, 0.19, 0.27, 0.4),
        }, random=True),
        Corruption("shot_noise", FAMILY, "noise", "noise", {
            32: (500, 250, 100, 75, 50),
            64: (250, 100, 50, 30, 15),
            224: (60, 25, 12, 5, 3),
            299: (50, 20, 10, 5, 3),
        }, random=True, on_levels=True),
        Corruption("impulse_noise", FAMILY, "noise", "noise", {
            32: (0.01, 0.02, 0.03, 0.05, 0.07),
            64: (0.01, 0.02, 0.05, 0.08, 0.14),
            224: (0.03, 0.06, 0.09, 0.17, 0.27),
            299: (0.04, 0.07, 0.1, 0.18, 0.28),
        }, random=True, on_levels=True),
        Corruption("defocus_blur", FAMILY, "blur", "blur", {
            32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
            64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
            224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
            299: ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
        }, channelwise=True),
        Corruption("glass_blur", FAMILY, "blur", "blur", {
            32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
            64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
            224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
            299: ((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
        }, random=True, channelwise=True, slices=2),
        Corruption("motion_blur", FAMILY, "blur", "blur", {
            32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
            64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
            224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
            299: ((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
        }, random=True, on_levels=True, channelwise=True, slices=2),
        Corruption("zoom_blur", FAMILY, "blur", "blur", {
            32: _zooms((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
            64: _zooms((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
            224: _zooms((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
            299: _zooms((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        }, on_levels=True, channelwise=True),
        Corruption("snow", FAMILY, "weather", "weather", {
                        32: ((0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55,
                10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)),
                        64: ((0.1, 0.2, 1, 0.6, 8, 3, 0.8), (0.1, 0.2, 1, 0.5, 10, 4, 0.8), (0.15, 0.3, 1.75, 0.55,
                10, 4, 0.7), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6)),
                        224: ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12,
                8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
                        299: ((0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12,
                8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
        }, random=True, slices=2),
        Corruption("frost", FAMILY, "weather", "weather", {
            32: ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
            64: ((1, 0.3, 0.3), (0.9, 0.4, 0.3), (0.8, 0.45, 0.3), (0.75, 0.5, 0.3), (0.7, 0.55, 0.3)),
            224: ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
            299: ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        }, random=True, textures=True, slices=2),
        Corruption("fog", FAMILY, "weather", "weather", {
            32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
            64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
            224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
            299: ((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
        }, random=True, channelwise=True, slices=2),
        Corruption("brightness", FAMILY, "weather", "weather", {
            32: (0.05, 0.1, 0.15, 0.2, 0.3),
            64: (0.1, 0.2, 0.3, 0.4, 0.5),
            224: (0.1, 0.2, 0.3, 0.4, 0.5),
            299: (0.1, 0.2, 0.3, 0.4, 0.5),
        }, channelwise=True),
        Corruption("contrast", FAMILY, "digital", "digital", {
            32: (0.75, 0.5, 0.4, 0.3, 0.15),
            64: (0.4, 0.3, 0.2, 0.1, 0.05),
            224: (0.4, 0.3, 0.2, 0.1, 0.05),
            299: (0.4, 0.3, 0.2, 0.1, 0.05),
        }, channelwise=True),
        Corruption("elastic_transform", FAMILY, "digital", "digital", {
                        32: _elastic(32, (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1,
                0.03, 0.03) ),
                        64: _elastic(64, (0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16,
                0.03, 0.02) ),
                        224: _elastic(244, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02) ),
                        299: _elastic(360, (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02) ),
        }, random=True, channelwise=True, slices=4),
        Corruption("pixelate", FAMILY, "digital", "digital", {
            32: (0.95, 0.9, 0.85, 0.75, 0.65),
            64: (0.9, 0.8, 0.7, 0.6, 0.5),
            224: (0.6, 0.5, 0.4, 0.3, 0.25),
            299: (0.5, 0.4, 0.3, 0.25, 0.2),
        }, on_levels=True, channelwise=True, slices=2),
        Corruption("jpeg_compression", FAMILY, "digital", "digital", {
            32: (80, 65, 58, 50, 40),
            64: (65, 58, 50, 40, 25),
            224: (25, 18, 15, 10, 7),
            299: (23, 16, 13, 8, 5),
        }, on_levels=True, channelwise=True),
        Corruption("speckle_noise", FAMILY_EXTRA, None, "noise", {
            32: (0.06, 0.1, 0.12, 0.16, 0.2),
            64: (0.15, 0.2, 0.25, 0.3, 0.35),
            224: (0.15, 0.2, 0.35, 0.45, 0.6),
            299: (0.16, 0.21, 0.36, 0.46, 0.61),
        }, random=True),
        Corruption("gaussian_blur", FAMILY_EXTRA, None, "blur", {
            32: (0.4, 0.6, 0.7, 0.8, 1),
            64: (0.5, 0.75, 1, 1.25, 1.5),
            224: (1, 2, 3, 4, 6),
            299: (1.5, 2.5, 3.5, 4.5, 6.5),
        }, channelwise=True, slices=2),
        Corruption("spatter", FAMILY_EXTRA, None, "spatter", {
                        32: ((0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0), (0.65, 0.3, 1, 0.69, 0.5,
                0), (0.65, 0.1, 0.7, 0.69, 0.6, 1), (0.65, 0.1, 0.5, 0.68, 0.6, 1)),
                        64: ((0.62, 0.1, 0.7, 0.7, 0.6, 0), (0.65, 0.1, 0.8, 0.7, 0.6, 0), (0.65, 0.3, 1, 0.69, 0.6,
                0), (0.65, 0.1, 0.7, 0.68, 0.6, 1), (0.65, 0.1, 0.5, 0.67, 0.6, 1)),
                        224: ((0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0), (0.65, 0.3, 2, 0.68, 0.5,
                0), (0.65, 0.3, 1, 0.65, 1.5, 1), (0.67, 0.4, 1, 0.65, 1.5, 1)),
                        299: ((0.65, 0.3, 4, 0.69, 0.9, 0), (0.65, 0.3, 3.5, 0.68, 0.9, 0), (0.65, 0.3, 3, 0.68, 0.8,
                0), (0.65, 0.3, 1.2, 0.65, 1.8, 1), (0.67, 0.4, 1.2, 0.65, 1.8, 1)),
        }, random=True, slices=2),
        Corruption("saturate", FAMILY_EXTRA, None, "digital", {
            32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
            64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
            224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
            299: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        }),
        Corruption("grayscale", TEXTURE_SHAPE, None, "texture_shape", {ANY_SIZE: (None,) * 5}, channelwise=True),
        Corruption("low_pass", TEXTURE_SHAPE, None, "texture_shape", {ANY_SIZE: (32, 16, 8, 4, 2)}, channelwise=True),
        Corruption("high_pass", TEXTURE_SHAPE, None, "texture_shape", {ANY_SIZE: (2, 4, 8, 16, 32)}, channelwise=True),
        Corruption("patch_shuffle", TEXTURE_SHAPE, None, "texture_shape", {ANY_SIZE: (2, 4, 7, 8, 14)},
            random=True, on_levels=True, channelwise=True),
        _c_bar("blue_noise_sample", "spectra", {32: (0.7, 1.4, 2.1, 3.5, 4.2), 224: (0.8, 1.6, 2.4, 4, 5.6)}),
        _c_bar("plasma_noise", "waves", {224: (4.75, 7, 8.5, 9.25, 10)}, channelwise=False),
        _c_bar("checkerboard_cutout", "covers", {32: (1, 2, 3, 4, 5), 224: (2, 3, 4, 5, 6)}),
        _c_bar("cocentric_sine_waves", "waves", {224: (3, 5, 8, 9, 10)}),
        _c_bar("single_frequency_greyscale", "waves", {224: (1, 1.5, 2, 4.5, 5)}),
        _c_bar("brownish_noise", "spectra", {32: (2.5, 4, 5.5, 6.5, 7), 224: (1, 2, 3, 4, 5)}, channelwise=False),
        _c_bar("sparkles", "sparkles", {32: (0.7, 3.5, 5.6, 6.3, 7), 224: (1, 2, 3, 5, 6)}),
        _c_bar("inverse_sparkles", "sparkles", {32: (1, 1.5, 2.5, 4.5, 5), 224: (1, 2, 4, 9, 10)}),
        _c_bar("perlin_noise", "lattice", {224: (4.6, 5.2, 5.8, 7.6, 8.8)}),
        _c_bar("caustic_refraction", "caustics", {224: (2.35, 3.2, 4.9, 6.6, 9.15)}),
        _c_bar("pinch_and_twirl", "warps", {32: (5.5, 6, 6.5, 8.5, 10)}),
        _c_bar("ripple", "warps", {32: (5.5, 6, 6.5, 7.5, 8)}),
        _c_bar("circular_motion_blur", "splines", {32: (2.8, 3.6, 4.4, 5.2, 6)}, random=False),
        _c_bar("lines", "covers", {32: (0.5, 1, 1.5, 2, 2.5)}),
        _c_bar("transverse_chromatic_abberation", "splines", {32: (1, 2, 5, 9, 10)}, channelwise=False),
    )
}
# fmt: on
"""The 15 by category in the published order, over which mCE is; then the others."""
