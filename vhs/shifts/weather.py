"""The weather corruptions.

Letters: B images, C = 3 channels, H height, W width, S side of a fractal map, P texture pixels.
Images are float32 in [0, 1]; `key` is the 64-bit hash of (seed, corruption, severity).
Definitions: Hendrycks & Dietterich 2019, hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.shifts import fields, filters
from vhs.shifts.textures import Textures

WIBBLE = 100.0
GREY = (0.299, 0.587, 0.114)


def snow(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: tuple[float, ...]) -> Tensor:
    """Flakes from thresholded noise, enlarged, motion-blurred at -135 to -45 degrees, over a whitened image.

    strength: mean and deviation of the noise, zoom, threshold, radius and sigma of the motion blur, share of
    the image that stays.
    """
    mean, deviation, factor, threshold, radius, sigma, stays = strength
    height, width = images_BCHW.shape[-2:]
    noise = fields.normal(fields.words(keys_B, height * width, key)) * deviation + mean
    flakes = filters.zoom(noise.view(-1, 1, height, width), factor)
    below = float(np.nextafter(np.float32(threshold), np.float32(-1)))  # F.threshold keeps what exceeds it
    levels = F.threshold(flakes, below, 0.0).clamp_(0, 1).mul_(255).floor_()
    angles = fields.uniform(fields.words(keys_B, 1, key, stream=1))[:, 0].double() * 90 - 135
    layer = filters.motion_blur(levels, angles, radius, sigma).div_(255)
    red, green, blue = (weight * images_BCHW[:, i : i + 1] for i, weight in enumerate(GREY))
    whitened = torch.maximum(images_BCHW, red.add_(green).add_(blue).mul_(1.5).add_(0.5)).mul_(1 - stays)
    return (images_BCHW * stays).add_(whitened).add_(layer).add_(layer.flip(-2, -1))


def frost(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: tuple[float, ...], textures: Textures) -> Tensor:
    """strength[0] * image + strength[1] * a random crop of one of the textures, at scale strength[2]."""
    height, width = images_BCHW.shape[-2:]
    chosen, top, left = frost_draws(fields.words(keys_B, 3, key), textures, (height, width))
    y = top[:, None, None] + torch.arange(height, device=top.device)[:, None]
    x = left[:, None, None] + torch.arange(width, device=top.device)
    heights, widths, starts = (values[chosen, None, None] for values in textures.geometry(top.device))
    place = starts + _mirror(y, heights) * widths + _mirror(x, widths)
    crop = textures.pixels_P3(top.device).index_select(0, place.flatten()).view(*place.shape, 3)
    return images_BCHW * strength[0] + crop.permute(0, 3, 1, 2).float().mul_(strength[1] / 255)


def frost_draws(words_B3: Tensor, textures: Textures, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """(texture, top, left) int64 [B]: a texture, and a corner anywhere that the crop fits (0 where it nowhere does)."""
    heights, widths, _ = textures.geometry(words_B3.device)
    chosen = fields.below(words_B3[:, 0], len(heights)).long()
    draws = fields.uniform(words_B3[:, 1:]).double()
    room_y, room_x = (heights - size[0]).clamp(min=0)[chosen], (widths - size[1]).clamp(min=0)[chosen]
    return chosen, (draws[:, 0] * room_y).long(), (draws[:, 1] * room_x).long()


def _mirror(place: Tensor, size: Tensor) -> Tensor:
    """Positions beyond a texture run back into it."""
    place = place % (2 * size)
    return torch.minimum(place, 2 * size - 1 - place)


def fog(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: tuple[float, float]) -> Tensor:
    """Add strength[0] times a plasma fractal, and bring the sum back under the image's maximum."""
    height, width = images_BCHW.shape[-2:]
    side = 1 << (max(height, width) - 1).bit_length()
    draws = fields.uniform(fields.words(keys_B, side * side - 1, key)) * 2 - 1
    haze = plasma(draws, side, strength[1])[:, None, :height, :width]
    brightest = images_BCHW.amax((1, 2, 3), keepdim=True)
    return (haze * strength[0] + images_BCHW).mul_(brightest / (brightest + strength[0]))


def plasma(draws_BN: Tensor, side: int, decay: float) -> Tensor:
    """Diamond-square fractals in [0, 1], float32 [B, S, S], periodic; `side` S is a power of two.

    draws_BN: S * S - 1 uniform numbers in [-1, 1), used in the order of the source: at each scale the
    squares' centres, then the horizontal, then the vertical edges. The roughness divides by `decay` a scale.
    """
    grid = draws_BN.new_zeros(len(draws_BN), side + 1, side + 1)  # the last row and column repeat the first
    if grid.device.type == "cpu":  # NumPy takes a third of torch's time for many small steps, in the same memory
        _grow(grid.numpy(), draws_BN.numpy(), side, decay)
    else:
        _grow(grid, draws_BN, side, decay)
    grid = grid[:, :side, :side]
    least, most = grid.amin((1, 2), keepdim=True), grid.amax((1, 2), keepdim=True)
    return (grid - least).div_(most - least)


def _grow(grid: Any, draws_BN: Any, side: int, decay: float) -> None:
    """Fill the grid, from the coarsest scale to the finest. Arrays of NumPy or of torch."""
    wibble, used, step = WIBBLE, 0, side
    while step >= 2:
        half, cells = step // 2, side // step
        corner, count = grid[:, ::step, ::step], 3 * cells * cells
        draws = (draws_BN[:, used : used + count] * wibble**2).reshape(-1, 3, cells, cells)
        pairs = corner[:, :-1] + corner[:, 1:]
        centre = (pairs[..., :-1] + pairs[..., 1:]) / 4
        centre += draws[:, 0]
        row, column = centre + 0, centre + 0
        row[:, 1:] += centre[:, :-1]
        row[:, 0] += centre[:, -1]
        column[..., 1:] += centre[..., :-1]
        column[..., 0] += centre[..., -1]
        for edge, far, drawn in ((row, corner[:, :-1, 1:], draws[:, 1]), (column, corner[:, 1:, :-1], draws[:, 2])):
            edge += corner[:, :-1, :-1]
            edge += far
            edge /= 4
            edge += drawn
        grid[:, half::step, half::step] = centre
        grid[:, :-1:step, half::step] = row
        grid[:, half::step, :-1:step] = column
        grid[:, -1, half::step] = row[:, 0]
        grid[:, half::step, -1] = column[..., 0]
        used, step, wibble = used + count, half, wibble / decay


def brightness(images_BCHW: Tensor, strength: float) -> Tensor:
    """HSV value + strength, clipped. V is the largest channel and hue and saturation stay, so the
    channels are scaled by the ratio of the two values; black has no hue and becomes grey."""
    value = images_BCHW.amax(1, keepdim=True)
    raised = (value + strength).clamp(0, 1)
    return torch.where(value > 0, images_BCHW * (raised / value.clamp(min=1e-6)), raised)
