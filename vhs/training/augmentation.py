"""Augmentation of a batch where it lies, drawn by (seed, epoch, sample): random crop, flip and erasing.

Letters: B images, C channels, H height, W width, T tries.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.seeds import hash64
from vhs.shifts import fields

AREAS = (0.02, 1 / 3)
LONGEST = 1 / 0.3
TRIES = 10
"""Of random erasing, as in timm: share of the area, aspect ratio from 0.3 on, tries until a box fits."""
NOISE = 1 << 23
"""Values of noise drawn at once: whole batches of large images would take gigabytes."""
REPEAT = 0x9E3779B97F4A7C15 - (1 << 64)


def augment(images_BCHW: Tensor, keys_B: Tensor, *, crop: bool, flip: bool, key: int) -> Tensor:
    """uint8 images, cropped at a random offset after padding with zeros, and mirrored at even odds.

    key: 64-bit hash of (seed, epoch); with a sample's own key it decides the sample's draws.
    """
    if not crop and not flip:
        return images_BCHW
    draws = fields.uniform(fields.words(keys_B, 3, key))
    if crop:
        images_BCHW = _crop(images_BCHW, draws[:, 0], draws[:, 1])
    if flip:
        images_BCHW = torch.where((draws[:, 2] < 0.5).view(-1, 1, 1, 1), images_BCHW.flip(-1), images_BCHW)
    return images_BCHW


def erase(pixels_BCHW: Tensor, keys_B: Tensor, odds: float, key: int) -> Tensor:
    """Normalised pixels with, at these odds, a box of standard normal noise (Zhong et al. 2017, arXiv:1708.04896)."""
    if not odds:
        return pixels_BCHW
    inside_BHW = _boxes(keys_B, odds, key, pixels_BCHW.shape[-2], pixels_BCHW.shape[-1])
    at_once = max(NOISE // pixels_BCHW[0].numel(), 1)
    parts = zip(*(whole.split(at_once) for whole in (pixels_BCHW, keys_B, inside_BHW)), strict=True)
    erased = [torch.where(inside[:, None], _noise(pixels, keys, key), pixels) for pixels, keys, inside in parts]
    return torch.cat(erased)


def _noise(pixels_BCHW: Tensor, keys_B: Tensor, key: int) -> Tensor:
    noise = fields.normal(fields.words(keys_B, pixels_BCHW[0].numel(), hash64(key, "erase-noise")))
    return noise.view_as(pixels_BCHW).to(pixels_BCHW.dtype)


def _boxes(keys_B: Tensor, odds: float, key: int, height: int, width: int) -> Tensor:
    """bool [B, H, W]: what is erased; nothing where no box of TRIES fits."""
    draws_BT4 = fields.uniform(fields.words(keys_B, 1 + 4 * TRIES, hash64(key, "erase")))
    erased_B, draws_BT4 = draws_BT4[:, 0] < odds, draws_BT4[:, 1:].view(len(keys_B), TRIES, 4)
    area_BT = (AREAS[0] + (AREAS[1] - AREAS[0]) * draws_BT4[..., 0]) * height * width
    aspect_BT = torch.exp(math.log(LONGEST) * (2 * draws_BT4[..., 1] - 1))
    tall_BT, wide_BT = (area_BT * aspect_BT).sqrt().round(), (area_BT / aspect_BT).sqrt().round()
    fits_BT = (tall_BT < height) & (wide_BT < width)
    first = fits_BT.float().argmax(1, keepdim=True)
    tall, wide, down, across = (
        part.gather(1, first) for part in (tall_BT, wide_BT, draws_BT4[..., 2], draws_BT4[..., 3])
    )
    top, left = (down * (height - tall + 1)).floor(), (across * (width - wide + 1)).floor()
    rows, columns = (torch.arange(side, device=keys_B.device) for side in (height, width))
    inside = ((rows >= top) & (rows < top + tall))[:, :, None] & ((columns >= left) & (columns < left + wide))[:, None]
    return inside & (erased_B & fits_BT.any(1)).view(-1, 1, 1)


def epoch_key(seed: int, epoch: int) -> int:
    return hash64(seed, "augment", epoch)


def repeat_keys(keys_B: Tensor, repeat_B: Tensor) -> Tensor:
    """The keys of the n-th version of each sample in an epoch; those of the first are the samples' own."""
    return keys_B + repeat_B * REPEAT


def _crop(images_BCHW: Tensor, down_B: Tensor, across_B: Tensor) -> Tensor:
    batch, channels, height, width = images_BCHW.shape
    pad = max(height, width) // 8
    padded = F.pad(images_BCHW, (pad, pad, pad, pad))
    rows = (down_B * (2 * pad + 1)).long()[:, None] + torch.arange(height, device=images_BCHW.device)
    columns = (across_B * (2 * pad + 1)).long()[:, None] + torch.arange(width, device=images_BCHW.device)
    index = torch.arange(batch, device=images_BCHW.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images_BCHW.device).view(1, -1, 1, 1)
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]
