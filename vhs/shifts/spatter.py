"""Spatter: water or mud on the lens.

Letters: B images, H height, W width. Definition: Hendrycks & Dietterich 2019, hendrycks/robustness,
ImageNet-C/create_c/make_imagenet_c.py, which calls OpenCV for Canny, distance transform and equalisation.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.shifts import fields, filters

MUD = (63 / 255, 42 / 255, 20 / 255)
WATER = (175 / 255, 238 / 255, 238 / 255)
LOW, HIGH = 50, 150
"""Canny's thresholds."""
REACH = 20
"""Distances are cut off here, px."""
UNIT = 1 << 16
"""OpenCV's distances are whole numbers of 2^-16 px."""
STEPS = ((1, 0, 65536, 5), (1, 1, 91750, 4), (2, 1, 143976, 4), (1, 2, 143976, 4))
"""Moves of its 5 x 5 mask in one quadrant: dy, dx, length (1, 1.4, 2.1969 px), doublings that reach REACH."""


def spatter(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: tuple[float, ...]) -> Tensor:
    """Drops where smoothed noise exceeds a threshold.

    strength: mean, deviation and smoothing of the noise, threshold, then the water's intensity or the mud's
    smoothing, and 1 for mud.
    """
    mean, deviation, sigma, threshold, second, muddy = strength
    height, width = images_BCHW.shape[-2:]
    noise = fields.normal(fields.words(keys_B, height * width, key)) * deviation + mean
    liquid = filters.blur(noise.view(-1, 1, height, width), sigma)
    if muddy:
        cover = filters.blur((liquid > threshold).float(), second)
        cover = torch.where(cover < 0.8, 0.0, cover)
        return images_BCHW * (1 - cover) + cover * _colour(MUD, images_BCHW.device)
    levels = torch.where(liquid < threshold, 0.0, liquid).mul_(255).floor_() % 256
    layer = levels * _shading(levels)
    peak = layer.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
    return images_BCHW + layer / peak * second * _colour(WATER, images_BCHW.device)


@lru_cache(maxsize=4)
def _colour(rgb: tuple[float, ...], device: torch.device) -> Tensor:
    """float32 [3, 1, 1]; kept on the device, so that no batch waits for the host."""
    return torch.tensor(rgb, device=device)[:, None, None]


def _shading(levels_B1HW: Tensor) -> Tensor:
    """Bright where a drop slopes to the lower right, from its distance to the drops' outlines; grey levels."""
    distance = equalise(_nine(chamfer(canny(levels_B1HW))) // (9 * UNIT))
    padded = F.pad(distance, (1, 1, 1, 1), mode="reflect")
    relief = F.conv2d(padded, _slope(levels_B1HW.device)).clamp_(0, 255)
    return (_nine(relief) / 9).round_()


@lru_cache(maxsize=4)
def _slope(device: torch.device) -> Tensor:
    """float32 [1, 1, 3, 3]: light from the upper left; kept on the device."""
    return torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]], device=device)[None, None]


def _nine(images_B1HW: Tensor) -> Tensor:
    """3 x 3 sums, borders mirrored without the edge; whole numbers stay exact."""
    padded = F.pad(images_B1HW.float(), (1, 1, 1, 1), mode="reflect").to(images_B1HW.dtype)
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    return rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]


def canny(levels_B1HW: Tensor) -> Tensor:
    """bool: OpenCV's Canny with Sobel 3 x 3 and the sum of absolute slopes.

    An edge is above LOW, at least as steep as its two neighbours across it, and connected to one above HIGH.
    """
    p = F.pad(levels_B1HW, (1, 1, 1, 1), mode="replicate")
    smooth_y = p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]
    smooth_x = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    dx = smooth_y[..., 2:] - smooth_y[..., :-2]
    dy = smooth_x[:, :, 2:] - smooth_x[:, :, :-2]
    steepness = dx.abs() + dy.abs()
    padded = F.pad(steepness, (1, 1, 1, 1))

    def at(down: int, right: int) -> Tensor:
        height, width = steepness.shape[-2:]
        return padded[:, :, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    x, y = dx.abs(), dy.abs() * 2**15
    flat = x * 13573  # tan 22.5 degrees in 15 bits; the other limit is tan 67.5 = tan 22.5 + 2
    steep = flat + x * 2**16
    same = (dx * dy) >= 0
    down_right = torch.where(same, at(-1, -1), at(-1, 1)), torch.where(same, at(1, 1), at(1, -1))
    along_x = (steepness > at(0, -1)) & (steepness >= at(0, 1))
    along_y = (steepness > at(-1, 0)) & (steepness >= at(1, 0))
    diagonal = (steepness > down_right[0]) & (steepness > down_right[1])
    thin = torch.where(y < flat, along_x, torch.where(y > steep, along_y, diagonal)) & (steepness > LOW)
    return _connect(thin & (steepness > HIGH), thin)


def _connect(seeds: Tensor, allowed: Tensor) -> Tensor:
    """Parts of `allowed` that touch a seed, by 8-neighbours, as far as height + width steps lead.

    Once nothing grows any more, further steps change nothing. On a CPU asking that after each saves most of them; on
    another device the host would wait for every answer, so all are taken.
    """
    grown, asked = seeds, seeds.device.type == "cpu"
    for _ in range(sum(seeds.shape[-2:])):
        wider = _widen(_widen(grown, -1), -2) & allowed
        if asked and torch.equal(wider, grown):
            break
        grown = wider
    return grown


def _widen(mask: Tensor, axis: int) -> Tensor:
    """Each pixel or one of its two neighbours along an axis."""
    wide = mask.clone()
    size = mask.shape[axis] - 1
    wide.narrow(axis, 1, size).logical_or_(mask.narrow(axis, 0, size))
    wide.narrow(axis, 0, size).logical_or_(mask.narrow(axis, 1, size))
    return wide


def chamfer(sources_B1HW: Tensor) -> Tensor:
    """int32: distance to the nearest source in UNITs a px, by steps of the 5 x 5 mask, exact up to REACH.

    A path is steps of few kinds in any order, so each kind is taken 0 to 2^n times in turn, by doubling.
    """
    distance = torch.where(sources_B1HW, 0, REACH * UNIT).int()
    for dy, dx, length, doublings in STEPS:
        for down, right in ((dy, dx), (-dy, -dx), (dx, -dy), (-dx, dy)):
            for doubling in range(doublings):
                times = 1 << doubling
                _relax(distance, down * times, right * times, length * times)
    return distance


def _relax(distance: Tensor, down: int, right: int, length: int) -> None:
    """distance = min(distance, distance shifted by (down, right) + length), in place."""
    height, width = distance.shape[-2:]
    if abs(down) >= height or abs(right) >= width:
        return
    to = distance[..., max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
    source = distance[..., max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)]
    torch.minimum(to, source + length, out=to)


def equalise(levels_B1HW: Tensor) -> Tensor:
    """Histogram equalisation of whole grey levels, as OpenCV's: the lowest level present becomes 0."""
    flat = levels_B1HW.flatten(1).long()
    counts = torch.zeros(len(flat), 256, device=flat.device).scatter_add_(1, flat, torch.ones_like(flat).float())
    lowest = flat.amin(1, keepdim=True)
    first = counts.gather(1, lowest)
    scale = 255 / (flat.shape[1] - first).clamp(min=1)
    table = ((counts.cumsum(1) - first) * scale).round().clamp_(0, 255)
    uniform = first == flat.shape[1]
    table = torch.where(uniform, torch.arange(256, device=flat.device).float(), table)
    return table.gather(1, flat).view_as(levels_B1HW)
