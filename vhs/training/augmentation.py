"""Random crop and flip of a batch, drawn by (seed, epoch, sample).

Letters: B images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.seeds import hash64
from vhs.shifts import fields


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


def epoch_key(seed: int, epoch: int) -> int:
    return hash64(seed, "augment", epoch)


def _crop(images_BCHW: Tensor, down_B: Tensor, across_B: Tensor) -> Tensor:
    batch, channels, height, width = images_BCHW.shape
    pad = max(height, width) // 8
    padded = F.pad(images_BCHW, (pad, pad, pad, pad))
    rows = (down_B * (2 * pad + 1)).long()[:, None] + torch.arange(height, device=images_BCHW.device)
    columns = (across_B * (2 * pad + 1)).long()[:, None] + torch.arange(width, device=images_BCHW.device)
    index = torch.arange(batch, device=images_BCHW.device).view(-1, 1, 1, 1)
    channel = torch.arange(channels, device=images_BCHW.device).view(1, -1, 1, 1)
    return padded[index, channel, rows[:, None, :, None], columns[:, None, None, :]]
