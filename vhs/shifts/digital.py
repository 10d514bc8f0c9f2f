"""The digital corruptions and brightness: no randomness.

Letters: B images, C = 3 channels, H height, W width, h and w the reduced ones.
Images are float32 in [0, 1] unless a name says uint8.
Definitions: Hendrycks & Dietterich 2019, hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def brightness(images_BCHW: Tensor, strength: float) -> Tensor:
    """HSV value + strength, clipped. V is the largest channel and hue and saturation stay, so the
    channels are scaled by the ratio of the two values; black has no hue and becomes grey."""
    value = images_BCHW.amax(1, keepdim=True)
    raised = (value + strength).clamp(0, 1)
    return torch.where(value > 0, images_BCHW * (raised / value.clamp(min=1e-6)), raised)


def contrast(images_BCHW: Tensor, strength: float) -> Tensor:
    """(x - mean) * strength + mean, with each channel's mean over the image.

    The mean is taken over integer grey levels, so it has the same bits on every device.
    """
    levels = (images_BCHW * 255).round().long()
    count = levels.shape[-2] * levels.shape[-1]
    mean = (levels.sum((-2, -1), keepdim=True).double() / (count * 255)).float()
    return (images_BCHW - mean) * strength + mean


def pixelate(images_BCHW: Tensor, strength: float) -> Tensor:
    """Reduce to int(side * strength) with Pillow's BOX filter, and enlarge again with it."""
    height, width = images_BCHW.shape[-2:]
    small = (int(height * strength), int(width * strength))
    return _box_resize(_box_resize(images_BCHW, small), (height, width))


def jpeg_compression(images_BCHW: Tensor, strength: float) -> Tensor:
    """Encode with Pillow at quality `strength`, as the published files were, and decode.

    An image whose channels are equal is encoded as grey, which decodes to the same pixels.
    """
    images = (images_BCHW * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.stack([_jpeg_round_trip(image, int(strength)) for image in images])
    return torch.from_numpy(decoded).to(images_BCHW.device).permute(0, 3, 1, 2).float() / 255


def _jpeg_round_trip(image_HWC: np.ndarray, quality: int) -> np.ndarray:
    grey = bool((image_HWC == image_HWC[..., :1]).all())
    buffer = io.BytesIO()
    Image.fromarray(image_HWC[..., 0] if grey else image_HWC).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer))
    return np.repeat(decoded[..., None], 3, axis=-1) if grey else decoded


def _box_resize(images_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Pillow's two passes, columns then rows, each rounded to a grey level."""
    levels = (images_BCHW * 255).round()
    across = _box_matrix(images_BCHW.shape[-1], size[1]).to(levels.device)
    down = _box_matrix(images_BCHW.shape[-2], size[0]).to(levels.device)
    levels = _round_half_up(levels @ across.t(), across.sum(1))
    return _round_half_up(down @ levels, down.sum(1)[:, None]) / 255


def _round_half_up(sums: Tensor, counts: Tensor) -> Tensor:
    """Whole-number sums over whole-number counts, to the nearest whole number; exact below 2^23."""
    return torch.floor((sums * 2 + counts) / (counts * 2))


@lru_cache(maxsize=16)
def _box_matrix(source: int, target: int) -> Tensor:
    """float32 [target, source] of zeros and ones: which pixels Pillow's BOX filter averages."""
    scale = source / target
    support = max(scale, 1.0) / 2
    matrix = torch.zeros(target, source)
    for row in range(target):
        centre = (row + 0.5) * scale
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), source)
        offsets = (torch.arange(first, last).double() - centre + 0.5) / max(scale, 1.0)
        matrix[row, first:last] = ((offsets > -0.5) & (offsets <= 0.5)).float()
    return matrix
