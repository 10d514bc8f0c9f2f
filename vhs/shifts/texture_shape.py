"""Filters that separate texture from shape: what is left when colour, detail, outline or arrangement goes.

Letters: B images, C channels, H height, W width. Images are float32 in [0, 1], levels uint8.
In the manner of Geirhos et al. 2018 ("Generalisation in humans and deep neural networks"); the
strengths are ours, in cycles an image, so that they mean the same at every size.
"""

from __future__ import annotations

import math

from torch import Tensor

from vhs.shifts import fields, filters


def grayscale(images_BCHW: Tensor, _strength: object) -> Tensor:
    """ITU-R 601 luminance in all channels."""
    if images_BCHW.shape[1] == 1:
        return images_BCHW
    red, green, blue = images_BCHW.unbind(1)
    grey = (red * 0.299 + green * 0.587 + blue * 0.114)[:, None] + 0.5 / 255
    return grey.expand_as(images_BCHW)


def low_pass(images_BCHW: Tensor, cycles: float) -> Tensor:
    """A Gaussian that passes exp(-1/2) of the amplitude at `cycles` an image."""
    return filters.blur(images_BCHW, _sigma(images_BCHW, cycles)) + 0.5 / 255


def high_pass(images_BCHW: Tensor, cycles: float) -> Tensor:
    """What `low_pass` takes away, about each channel's mean."""
    smooth = filters.blur(images_BCHW, _sigma(images_BCHW, cycles))
    return images_BCHW - smooth + images_BCHW.mean((-2, -1), keepdim=True) + 0.5 / 255


def _sigma(images_BCHW: Tensor, cycles: float) -> float:
    return min(images_BCHW.shape[-2:]) / (2 * math.pi * cycles)


def patch_shuffle(levels_BCHW: Tensor, keys_B: Tensor, key: int, count: int) -> Tensor:
    """Cut into count x count patches and put them together in random order, one order an image.

    Rows and columns beyond a multiple of `count` stay where they are.
    """
    patch = [side // count for side in levels_BCHW.shape[-2:]]
    inner = levels_BCHW[..., : patch[0] * count, : patch[1] * count]
    parts = inner.unflatten(-1, (count, patch[1])).unflatten(-3, (count, patch[0]))  # B C k h k w
    parts = parts.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)  # B k*k C h w
    order = fields.words(keys_B, count * count, key).long().argsort(dim=1, stable=True)
    parts = parts.gather(1, order[:, :, None, None, None].expand_as(parts))
    out = levels_BCHW.clone()
    out[..., : patch[0] * count, : patch[1] * count] = (
        parts.unflatten(1, (count, count)).permute(0, 3, 1, 4, 2, 5).reshape(inner.shape)
    )
    return out
