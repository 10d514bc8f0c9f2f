"""Training images read when they are needed, cropped and augmented one by one by timm's transforms.

Letters: H height, W width, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import posterize, rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation

from vhs.errors import UsageError
from vhs.fitting import windows
from vhs.fitting.start import Size
from vhs.formats.pixels import IMAGENET, resize_and_crop
from vhs.formats.sample import Sample
from vhs.formats.shards import ShardSet
from vhs.formats.verification import Verification
from vhs.runs import cache
from vhs.seeds import sample_keys
from vhs.training import feed
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
        pixels_HWC = self.data.decode(self.samples[position])
        if not self.recipe.resized_crop and pixels_HWC.shape[:2] != self.side:
            pixels_HWC = resize_and_crop(pixels_HWC, IMAGENET).transpose(1, 2, 0)
        channels = pixels_HWC.shape[-1]
        image = Image.fromarray(pixels_HWC if channels == 3 else pixels_HWC[..., 0]).convert("RGB")
        for transform in self.transforms:
            image = transform(image)
        made = np.asarray(image if channels == 3 else image.convert("L"))
        return made.transpose(2, 0, 1) if channels == 3 else made[None]

    @cached_property
    def transforms(self) -> list[Callable[[Any], Any]]:
        found: list[Callable[[Any], Any]] = []
        if self.recipe.resized_crop:
            found.append(RandomResizedCropAndInterpolation(self.side, interpolation="bicubic"))
        if self.recipe.randaug:
            mean = tuple(round(255 * value) for value in self.data.manifest.mean)
            fill = mean if len(mean) == 3 else mean * 3
            options = {"translate_const": int(min(self.side) * 0.45), "img_mean": fill}
            try:
                augment = rand_augment_transform(self.recipe.randaug, options)
            except (AssertionError, KeyError, ValueError) as error:
                raise UsageError(
                    f"randaug {self.recipe.randaug!r}: expected timm's words, such as rand-m9-mstd0.5-inc1."
                ) from error
            for operation in augment.ops:
                if operation.aug_fn is posterize:
                    operation.aug_fn = _posterize
            found.append(augment)
        return found


def streamed(
    data: ShardSet, recipe: Recipe, size: Size, device: torch.device, workers: int
) -> tuple[feed.Streamed, Verification]:  # fmt: skip
    """A feed that reads every image when it is needed, and the check of the set, which runs meanwhile."""
    ahead = windows.ahead_of(data, recipe)
    chosen = cache.choose(data)
    reading = Verification(data, chosen)
    keys = torch.from_numpy(sample_keys([sample.id for sample in chosen]).view(np.int64)).to(device)
    tars_N = windows.tars_of(data, torch.arange(len(chosen)), recipe)
    samples = feed.Samples(cache.answers(data.manifest, chosen).to(device), keys, tars_N)
    reader = Reader(data, chosen, recipe, (size.height, size.width))
    assert reader.transforms  # a wrong recipe is told now, not by a worker
    coming, lead = (ahead.coming, ahead.lead) if ahead else (None, 0)
    return feed.Streamed(recipe, samples, reader, workers, coming, lead), reading


def _posterize(image: Image.Image, bits: int, resample: object = None, fillcolor: object = None) -> Image.Image:
    """timm's; at magnitude 10 it keeps 0 bits, which Pillow refuses since its version 13 and made black before."""
    del resample, fillcolor  # what timm gives every operation
    return posterize(image, bits) if bits >= 1 else image.point(lambda _value: 0)
