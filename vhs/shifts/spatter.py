"""Spatter: water or mud on the lens.

Letters: B images, H height, W width. Definition: Hendrycks & Dietterich 2019, hendrycks/robustness,
ImageNet-C/create_c/make_imagenet_c.py, which calls OpenCV for Canny, distance transform and equalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
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
STEPS = (
    (((1, 0), (-1, 0), (0, -1), (0, 1)), 65536, 5),
    (((1, 1), (-1, -1), (1, -1), (-1, 1)), 91750, 4),
    (((2, 1), (-2, -1), (1, -2), (-1, 2), (1, 2), (-1, -2), (2, -1), (-2, 1)), 143976, 4),
)
"""The moves of its 5 x 5 mask by kind: (dy, dx), their length (1, 1.4, 2.1969 px), doublings that reach REACH."""


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
        return (images_BCHW * (1 - cover)).add_(_coloured(cover, MUD))
    below = float(np.nextafter(np.float32(threshold), np.float32(-1)))  # F.threshold keeps what exceeds it
    levels = (F.threshold(liquid, below, 0.0).mul_(255).short() & 0xFF).float()
    layer = levels * _shading(levels)
    peak = layer.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)
    return _coloured(layer.div_(peak).mul_(second), WATER).add_(images_BCHW)


def _coloured(layer_B1HW: Tensor, rgb: tuple[float, ...]) -> Tensor:
    """float32 [B, 3, H, W], plane by plane, since a product with three colours takes a CPU eight times as long."""
    return torch.cat([layer_B1HW * part for part in rgb], dim=1)


def _shading(levels_B1HW: Tensor) -> Tensor:
    """Bright where a drop slopes to the lower right, from its distance to the drops' outlines; grey levels."""
    distance = equalise(
        _nine(chamfer(canny(levels_B1HW)).float()).int().bitwise_right_shift_(16).div_(9, rounding_mode="floor")
    )
    p = F.pad(distance, (1, 1, 1, 1), mode="reflect")
    relief = (p[..., 2:, 2:] - p[..., :-2, :-2]).mul_(2).add_(p[..., 1:-1, 1:-1])  # light from the upper left
    relief.add_(p[..., 1:-1, 2:]).add_(p[..., 2:, 1:-1]).sub_(p[..., 1:-1, :-2]).sub_(p[..., :-2, 1:-1])
    return (_nine(relief.clamp_(0, 255)) / 9).round_()


def _nine(images_B1HW: Tensor) -> Tensor:
    """3 x 3 sums, borders mirrored without the edge; whole numbers stay exact below 2^24."""
    padded = F.pad(images_B1HW, (1, 1, 1, 1), mode="reflect")
    rows = (padded[:, :, :-2] + padded[:, :, 1:-1]).add_(padded[:, :, 2:])
    return (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])


def canny(levels_B1HW: Tensor) -> Tensor:
    """bool: OpenCV's Canny with Sobel 3 x 3 and the sum of absolute slopes.

    An edge is above LOW, at least as steep as its two neighbours across it, and connected to one above HIGH.
    """
    p = F.pad(levels_B1HW, (1, 1, 1, 1), mode="replicate")
    smooth_y = p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]
    smooth_x = p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]
    dx = smooth_y[..., 2:] - smooth_y[..., :-2]
    dy = smooth_x[:, :, 2:] - smooth_x[:, :, :-2]
    padded = F.pad(dx.abs() + dy.abs(), (1, 1, 1, 1))
    if padded.device.type != "cpu":
        return _connect(*_thin(padded, dx, dy))
    seeds, allowed = (torch.from_numpy(mask) for mask in _thin(padded.numpy(), dx.numpy(), dy.numpy()))
    return _connect(seeds, allowed)


def _thin(padded: Any, dx: Any, dy: Any) -> tuple[Any, Any]:
    """bool: seeds and all of the edges, by the steepness with a border of zeros. Arrays of NumPy or of torch."""
    height, width = dx.shape[-2:]

    def exceeds(down: int, right: int) -> Any:
        return here > padded[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    here = padded[..., 1:-1, 1:-1]
    x, y = abs(dx), abs(dy) * 2**15
    flat = x * 13573  # tan 22.5 degrees in 15 bits; the other limit is tan 67.5 = tan 22.5 + 2
    is_flat, is_steep, same = y < flat, y > flat + x * 2**16, dx * dy >= 0
    along_x = exceeds(0, -1) & (here >= padded[..., 1:-1, 2:])
    along_y = exceeds(-1, 0) & (here >= padded[..., 2:, 1:-1])
    diagonal = (same & exceeds(-1, -1) & exceeds(1, 1)) | (~same & exceeds(-1, 1) & exceeds(1, -1))
    thin = (is_flat & along_x) | (~is_flat & ((is_steep & along_y) | (~is_steep & diagonal)))
    thin = thin & (here > LOW)
    return thin & (here > HIGH), thin


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

    A path is steps of few kinds in any order, so each kind is taken 0 to 2^n times in turn, by doubling. Of one kind no
    shortest path has two directions, so that all of them are taken at once.
    """
    width = sources_B1HW.shape[-1] + REACH
    free = F.pad(
        (~sources_B1HW).int().mul_(REACH * UNIT), (0, REACH), value=REACH * UNIT
    )  # no path leads around an edge
    if free.device.type == "cpu":
        for image in free.flatten(1).numpy():  # one by one, so that they stay in its caches
            _shorten(image, width, np.minimum)
    else:
        _shorten(free.flatten(1), width, torch.minimum)
    return free[..., :-REACH]


def _shorten(distance: Any, width: int, minimum: Callable[..., Any]) -> None:
    """In place: distances of rows of `width` behind one another, so that a move is a number of places."""
    places = distance.shape[-1]
    for moves, length, doublings in STEPS:
        for doubling in range(doublings):
            further = distance + (length << doubling)
            for down, right in moves:
                move = (down * width + right) << doubling
                if abs(move) < places:
                    to = distance[..., max(move, 0) : places + min(move, 0)]
                    minimum(to, further[..., max(-move, 0) : places + min(-move, 0)], out=to)


def equalise(levels_B1HW: Tensor) -> Tensor:
    """Histogram equalisation of whole grey levels, int32, as OpenCV's: the lowest level present becomes 0. float32."""
    flat = levels_B1HW.flatten(1)
    counts = _histogram(flat)
    lowest = flat.amin(1, keepdim=True).long()
    first = counts.gather(1, lowest)
    scale = 255 / (flat.shape[1] - first).clamp(min=1)
    table = ((counts.cumsum(1) - first) * scale).round().clamp_(0, 255)
    uniform = first == flat.shape[1]
    table = torch.where(uniform, torch.arange(256, device=flat.device).float(), table)
    return fields.pick_rows(table, flat).view_as(levels_B1HW)


def _histogram(levels_BP: Tensor) -> Tensor:
    """float32 [B, 256]: how many of each image's pixels have each level."""
    if levels_BP.device.type == "cpu":
        return torch.stack([torch.bincount(levels, minlength=256) for levels in levels_BP]).float()
    ones = torch.ones_like(levels_BP, dtype=torch.float32)
    return torch.zeros(len(ones), 256, device=ones.device).scatter_add_(1, levels_BP.long(), ones)
