"""Training images read when they are needed, cropped and augmented one by one by timm's transforms.

Letters: H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from vhs.formats.shards import Sample, ShardSet
from vhs.runs.decoding import IMAGENET, resize_and_crop
from vhs.training.recipe import Recipe


@dataclass(frozen=True)
class Reader:
    """position -> uint8 [C, H, W] with the recipe's resized crop and RandAugment, by the global generators' draws.

    side: (H, W) of what the model takes. Raises InputError for a sample that cannot be decoded.
    """

    data: ShardSet
    samples: Sequence[Sample]
    recipe: Recipe
    side: tuple[int, int]

    def __call__(self, position: int) -> np.ndarray:
        pixels_HWC = self.data.decoded(self.samples[position])
        if not self.recipe.resized_crop and pixels_HWC.shape[:2] != self.side:
            pixels_HWC = resize_and_crop(pixels_HWC, IMAGENET).transpose(1, 2, 0)
        channels = pixels_HWC.shape[-1]
        image = Image.fromarray(pixels_HWC if channels == 3 else pixels_HWC[..., 0]).convert("RGB")
        for transform in self._transforms:
            image = transform(image)
        made = np.asarray(image if channels == 3 else image.convert("L"))
        return made.transpose(2, 0, 1) if channels == 3 else made[None]

    @cached_property
    def _transforms(self) -> list[Callable[[Any], Any]]:
        from timm.data.auto_augment import rand_augment_transform
        from timm.data.transforms import RandomResizedCropAndInterpolation

        found: list[Callable[[Any], Any]] = []
        if self.recipe.resized_crop:
            found.append(RandomResizedCropAndInterpolation(self.side, interpolation="bicubic"))
        if self.recipe.randaug:
            mean = tuple(round(255 * value) for value in self.data.manifest.mean)
            fill = mean if len(mean) == 3 else mean * 3
            options = {"translate_const": int(min(self.side) * 0.45), "img_mean": fill}
            found.append(rand_augment_transform(self.recipe.randaug, options))
        return found
