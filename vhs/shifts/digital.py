"""The digital corruptions.

Letters: B images, C channels, H height, W width, h and w the reduced ones.
Images are float32 in [0, 1], levels uint8. Definitions: Hendrycks & Dietterich 2019,
hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch import Tensor

from vhs.shifts import fields, filters


def contrast(images_BCHW: Tensor, strength: float) -> Tensor:
    """(x - mean) * strength + mean, with each channel's mean over the image.

    The mean is taken over integer grey levels, so it has the same bits on every device.
    """
    levels = (images_BCHW * 255).round().long()
    count = levels.shape[-2] * levels.shape[-1]
    mean = (levels.sum((-2, -1), keepdim=True).double() / (count * 255)).float()
    return (images_BCHW - mean) * strength + mean


def saturate(images_BCHW: Tensor, strength: tuple[float, float]) -> Tensor:
    """HSV saturation * strength[0] + strength[1], clipped. Greys have hue 0, so what they gain is red."""
    value, least = images_BCHW.amax(1, keepdim=True), images_BCHW.amin(1, keepdim=True)
    spread = value - least
    before = spread / value.clamp(min=1e-6)
    after = (before * strength[0] + strength[1]).clamp(0, 1)
    distance = (value - images_BCHW) / spread.clamp(min=1e-6)  # 0 for the largest channel, 1 for the least
    red = torch.zeros_like(images_BCHW)
    red[:, 1:] = 1
    distance = torch.where(spread > 0, distance, red)
    return value * (1 - after * distance)


def elastic_transform(images_BCHW: Tensor, keys_B: Tensor, key: int, strength: tuple[float, ...]) -> Tensor:
    """A random affine map, then displacements by smoothed noise; strength = (alpha, sigma, affine), px."""
    alpha, sigma, affine = strength
    height, width = images_BCHW.shape[-2:]
    y, x = (torch.arange(side, device=keys_B.device).float() for side in (height, width))
    draws = fields.uniform(fields.words(keys_B, 6, key)).double() * 2 - 1
    inverse = affine_inverse(draws.view(-1, 3, 2) * affine, (height, width)).float()
    (a, b, c), (d, e, f) = inverse[:, :, :, None, None].permute(1, 2, 0, 3, 4)
    images = filters.bilinear(images_BCHW, d * x + e * y[:, None] + f, a * x + b * y[:, None] + c, edge="mirror")
    dx, dy = (
        filters.blur(_field(keys_B, (height, width), key, stream), sigma, truncate=3, mode="reflect")[:, 0] * alpha
        for stream in (1, 2)
    )
    return filters.bilinear(images, y[:, None] + dy, x + dx, edge="reflect")


def _field(keys_B: Tensor, size: tuple[int, int], key: int, stream: int) -> Tensor:
    return fields.uniform(fields.words(keys_B, size[0] * size[1], key, stream)).view(-1, 1, *size).mul_(2).sub_(1)


def affine_inverse(moves_B32: Tensor, size: tuple[int, int]) -> Tensor:
    """float64 [B, 2, 3]: from a pixel (x, y) of the result to the image, for the map that moves three corners.

    moves_B32: px. The source takes (height, width) for (x, y) when it places the corners; so do we.
    """
    corners = _corners(size, moves_B32.device)
    moved = torch.cat([corners + moves_B32, torch.ones_like(moves_B32[..., :1])], dim=-1)
    # Not `solve`, which waits for the device to say whether a system had no answer: moves are less than half of the
    # corners' distance, so that they never come to lie on one line.
    inverse, _ = torch.linalg.solve_ex(moved, corners.expand_as(moves_B32))
    return inverse.transpose(1, 2)


@lru_cache(maxsize=16)
def _corners(size: tuple[int, int], device: torch.device) -> Tensor:
    """float64 [3, 2]: the corners that are moved; kept on the device."""
    signs = torch.tensor([[1, 1], [1, -1], [-1, -1]], dtype=torch.float64)
    centre = torch.tensor([side // 2 for side in size], dtype=torch.float64)
    return (centre + signs * (min(size) // 3)).to(device)


def pixelate(levels_BCHW: Tensor, strength: float) -> Tensor:
    """Reduce to int(side * strength) with Pillow's BOX filter, and enlarge again with it. uint8 in and out.

    Reduced on a CPU by sums of rows, elsewhere by matrices, with the same result.
    """
    size = levels_BCHW.shape[-2:]
    small = (int(size[0] * strength), int(size[1] * strength))
    rows, columns = (_nearest(*pair, levels_BCHW.device) for pair in zip(small, size, strict=True))
    if levels_BCHW.device.type != "cpu":
        return box_reduce(levels_BCHW, small).index_select(-1, columns).index_select(-2, rows)
    narrow = _box_rows(np.ascontiguousarray(levels_BCHW.numpy().swapaxes(-1, -2)), small[1])
    reduced = _box_rows(np.ascontiguousarray(narrow.swapaxes(-1, -2)), small[0])
    return torch.from_numpy(reduced.take(columns.numpy(), -1).take(rows.numpy(), -2))


def _box_rows(levels_BCNM: np.ndarray, target: int) -> np.ndarray:
    """uint8: the rows averaged to `target`, as `box_reduce` has it of one axis."""
    places, masks, counts = _box_windows(levels_BCNM.shape[-2], target)
    sums = np.zeros((*levels_BCNM.shape[:-2], target, levels_BCNM.shape[-1]), np.uint16)
    for place, mask in zip(places, masks, strict=True):
        sums += levels_BCNM.take(place, -2) if mask.all() else levels_BCNM.take(place, -2) * mask
    sums *= 2
    sums += counts
    return (sums / (counts * np.float32(2))).astype(np.uint8)


@lru_cache(maxsize=16)
def _box_windows(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each target row the first, second, … source row [T, target] and 0 beyond its last; how many, uint16."""
    matrix, counts = (values.numpy() for values in _box(source, target, torch.device("cpu")))
    offsets = np.arange(int(counts.max()))[:, None]
    places = np.minimum(matrix.argmax(1) + offsets, source - 1)
    return places, (offsets < counts)[..., None].astype(np.uint8), counts[:, None].astype(np.uint16)


def box_reduce(levels_BCHW: Tensor, small: tuple[int, int]) -> Tensor:
    """To `small` (height, width) by Pillow's BOX filter: columns, then rows, each rounded to a grey level."""
    height, width = levels_BCHW.shape[-2:]
    across, across_counts = _box(width, small[1], levels_BCHW.device)
    down, down_counts = _box(height, small[0], levels_BCHW.device)
    levels = _round_half_up(levels_BCHW.float() @ across.t(), across_counts)
    return _round_half_up(down @ levels, down_counts[:, None]).to(torch.uint8)


def _round_half_up(sums: Tensor, counts: Tensor) -> Tensor:
    """Whole-number sums over whole-number counts, to the nearest whole number; exact below 2^23."""
    return sums.mul_(2).add_(counts).div_(counts * 2).floor_()


@lru_cache(maxsize=16)
def _box(source: int, target: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """float32 [target, source] of zeros and ones, which pixels Pillow's BOX filter averages; and how many."""
    scale = source / target
    support = max(scale, 1.0) / 2
    matrix = torch.zeros(target, source)
    for row in range(target):
        centre = (row + 0.5) * scale
        first, last = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), source)
        offsets = (torch.arange(first, last).double() - centre + 0.5) / max(scale, 1.0)
        matrix[row, first:last] = ((offsets > -0.5) & (offsets <= 0.5)).float()
    return matrix.to(device), matrix.sum(1).to(device)


@lru_cache(maxsize=16)
def _nearest(source: int, target: int, device: torch.device) -> Tensor:
    """Which of `source` pixels Pillow's BOX filter takes for each of more than as many."""
    return _box(source, target, torch.device("cpu"))[0].argmax(1).to(device)


def jpeg_compression(levels_BCHW: Tensor, strength: float) -> Tensor:
    """Encode with Pillow at quality `strength`, as the published files were, and decode. uint8 in and out.

    On as many threads as torch has; the work is the host's, wherever the images are.
    """
    images = levels_BCHW.cpu().numpy()
    decoded = np.empty(images.shape, np.uint8)
    threads = torch.get_num_threads() if len(images) > 1 else 1
    if threads == 1:
        for image, into in zip(images, decoded, strict=True):
            _jpeg_round_trip(image, int(strength), into)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(
                pool.map(
                    lambda pair: _jpeg_round_trip(pair[0], int(strength), pair[1]), zip(images, decoded, strict=True)
                )
            )
    return torch.from_numpy(decoded).to(levels_BCHW.device)


def _jpeg_round_trip(image_CHW: np.ndarray, quality: int, into_CHW: np.ndarray) -> None:
    """A grey image is encoded as grey, which decodes to the same pixels as three equal channels."""
    buffer = io.BytesIO()
    _picture(image_CHW).save(buffer, "JPEG", quality=quality)
    decoded = simplejpeg.decode_jpeg(buffer.getbuffer(), "RGB" if len(image_CHW) == 3 else "GRAY")
    into_CHW[...] = decoded.transpose(2, 0, 1)


def _picture(image_CHW: np.ndarray) -> Image.Image:
    """Planes to a Pillow image; merging them takes a fifth of the time of transposing the array."""
    planes = [Image.fromarray(plane) for plane in image_CHW]
    return Image.merge("RGB", planes) if len(planes) == 3 else planes[0]
