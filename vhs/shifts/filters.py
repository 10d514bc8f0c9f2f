"""Linear filters and resampling that the corruptions share; each image's result depends on that image alone.

Letters: B images, C channels, H height, W width, N a side, T taps, K kernel side.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SLICED_RADIUS = 16
"""Up to this radius a blur adds shifted slices; beyond it a matrix product is faster."""


def to_levels(images_BCHW: Tensor) -> Tensor:
    """uint8 of float32 in [0, 1]: clipped, cut to whole grey levels. By way of int16: a third of the time on a CPU."""
    return (images_BCHW * 255).clamp_(0, 255).short().to(torch.uint8)


def blur(images_BCHW: Tensor, sigma: float, *, truncate: float = 4.0, mode: str = "nearest") -> Tensor:
    """Gaussian filter, as `scipy.ndimage.gaussian_filter` defines it, of the last two axes.

    sigma: px; the kernel ends at int(truncate * sigma + 0.5). mode: "nearest" or "reflect" (half-sample).
    """
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return images_BCHW.clone()
    if radius > SLICED_RADIUS or mode != "nearest":
        return _blur_by_matrix(images_BCHW, sigma, radius, mode)
    kernel = gaussian_kernel(sigma, radius)
    padded = F.pad(images_BCHW, (radius,) * 4, mode="replicate")
    return _blur_by_slices(_blur_by_slices(padded, kernel, -2), kernel, -1)


@lru_cache(maxsize=64)
def gaussian_kernel(sigma: float, radius: int) -> tuple[float, ...]:
    """2 * radius + 1 weights that add up to 1."""
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


def _blur_by_slices(padded_BCHW: Tensor, kernel: tuple[float, ...], axis: int) -> Tensor:
    """Along one axis, which gets shorter by the kernel's length less 1."""
    radius = len(kernel) // 2
    size = padded_BCHW.shape[axis] - 2 * radius
    out = padded_BCHW.narrow(axis, radius, size) * kernel[radius]
    for tap, weight in enumerate(kernel):
        if tap != radius:
            out.add_(padded_BCHW.narrow(axis, tap, size), alpha=weight)
    return out


def _blur_by_matrix(images_BCHW: Tensor, sigma: float, radius: int, mode: str) -> Tensor:
    """One product a channel, always of one shape, so that its rounding does not depend on the batch."""
    height, width = images_BCHW.shape[-2:]
    planes = images_BCHW.flatten(0, 1)
    down = blur_matrix(height, sigma, radius, mode, planes.device)
    across = blur_matrix(width, sigma, radius, mode, planes.device).t()
    planes = torch.bmm(down.expand(len(planes), -1, -1), planes)
    return torch.bmm(planes, across.expand(len(planes), -1, -1)).view_as(images_BCHW)


@lru_cache(maxsize=32)
def blur_matrix(size: int, sigma: float, radius: int, mode: str, device: torch.device) -> Tensor:
    """float32 [size, size]: row i holds the weight of each pixel in the filtered pixel i. Kept on the device."""
    taps = np.arange(size)[:, None] + np.arange(-radius, radius + 1)
    if mode == "nearest":
        taps = taps.clip(0, size - 1)
    else:
        taps = taps % (2 * size)
        taps = np.minimum(taps, 2 * size - 1 - taps)
    matrix = np.zeros((size, size))
    rows = np.broadcast_to(np.arange(size)[:, None], taps.shape)
    np.add.at(matrix, (rows, taps), np.broadcast_to(gaussian_kernel(sigma, radius), taps.shape))
    return torch.from_numpy(matrix.astype(np.float32)).to(device)


def convolve(images_BCHW: Tensor, kernel_KK: np.ndarray) -> Tensor:
    """Correlate with a symmetric kernel of odd side, borders mirrored without the edge (OpenCV's REFLECT_101)."""
    height, width = images_BCHW.shape[-2:]
    radius = len(kernel_KK) // 2
    size = (_fast(height + 2 * radius), _fast(width + 2 * radius))
    padded = F.pad(images_BCHW, (radius,) * 4, mode="reflect")
    spectrum = _spectrum(kernel_KK.tobytes(), len(kernel_KK), size, images_BCHW.device)
    full = torch.fft.irfft2(torch.fft.rfft2(padded, s=size) * spectrum, s=size)
    return full[..., 2 * radius : 2 * radius + height, 2 * radius : 2 * radius + width]


@lru_cache(maxsize=32)
def _spectrum(kernel: bytes, side: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """complex64, computed on the host in double precision and kept on the device."""
    values = torch.from_numpy(np.frombuffer(kernel).reshape(side, side).copy())
    return torch.fft.rfft2(values, s=size).to(torch.complex64).to(device)


def _fast(size: int) -> int:
    """The next even number without prime factors above 5, for the Fourier transform."""
    while size % 2 or any(_rough(size)):
        size += 1
    return size


def _rough(size: int) -> list[int]:
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    return [size] if size > 1 else []


def zoom(images_BCHW: Tensor, factor: float) -> Tensor:
    """The middle of the images enlarged by `factor` >= 1, bilinear, corners on corners (`scipy.ndimage.zoom`)."""
    if factor == 1:
        return images_BCHW
    height, width = images_BCHW.shape[-2:]
    crop = [math.ceil(side / factor) for side in (height, width)]
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    part = images_BCHW[..., top : top + crop[0], left : left + crop[1]]
    size = [round(side * factor) for side in crop]
    out = F.interpolate(part, size=size, mode="bilinear", align_corners=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return out[..., top : top + height, left : left + width]


def motion_blur(levels_BCHW: Tensor, angles_B: Tensor, radius: float, sigma: float) -> Tensor:
    """ImageMagick's motion blur: a one-sided Gaussian of 2 * ceil(radius) + 1 taps along each image's angle.

    levels_BCHW: float32 grey levels 0 to 255; angles_B: float64 degrees. Taps fall on whole pixels, edges repeat.
    Source: ImageMagick 6, MotionBlurImage, which rounds to 16 bits; its 8-bit PNG then cuts the fraction off.
    Returns whole grey levels, float32.
    """
    width = 2 * math.ceil(radius) + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    taps = torch.arange(width, dtype=torch.float64, device=levels_BCHW.device)
    radians = torch.deg2rad(angles_B)[:, None]
    dy_BT = torch.ceil(taps * radians.sin() - 0.5).long()
    dx_BT = torch.ceil(taps * radians.cos() - 0.5).long()
    return (_shifted_sum(levels_BCHW, dy_BT, dx_BT, weights / weights.sum()) + 0.5 / 257).floor_()


def _shifted_sum(images_BCHW: Tensor, dy_BT: Tensor, dx_BT: Tensor, weights_T: np.ndarray) -> Tensor:
    """sum over t of weights[t] * image shifted by (dy[t], dx[t]), edges repeated."""
    if images_BCHW.device.type == "cpu":
        return _shifted_views_sum(images_BCHW, dy_BT, dx_BT, weights_T)
    out = torch.zeros_like(images_BCHW)
    flat = images_BCHW.flatten(2)
    rows = torch.arange(images_BCHW.shape[-2], device=out.device)[:, None]
    columns = torch.arange(images_BCHW.shape[-1], device=out.device)
    for tap, weight in enumerate(weights_T.tolist()):
        y = (rows + dy_BT[:, tap, None, None]).clamp_(0, images_BCHW.shape[-2] - 1)
        x = (columns + dx_BT[:, tap, None, None]).clamp_(0, images_BCHW.shape[-1] - 1)
        index = (y * images_BCHW.shape[-1] + x).flatten(1)[:, None].expand_as(flat)
        out.add_(flat.gather(2, index).view_as(out), alpha=weight)
    return out


def _shifted_views_sum(images_BCHW: Tensor, dy_BT: Tensor, dx_BT: Tensor, weights_T: np.ndarray) -> Tensor:
    """The same on a CPU, by views of the padded images instead of gathered pixels."""
    reach = len(weights_T)
    padded = F.pad(images_BCHW, (reach,) * 4, mode="replicate")
    out = torch.empty_like(images_BCHW, memory_format=torch.contiguous_format)
    each, strides = padded.stride(0), padded.stride()[1:]
    starts = ((dy_BT + reach) * strides[1] + (dx_BT + reach) * strides[2]).tolist()
    for number, (image, places) in enumerate(zip(out, starts, strict=True)):
        for tap, (weight, place) in enumerate(zip(weights_T.tolist(), places, strict=True)):
            view = padded.as_strided(image.shape, strides, number * each + place)
            if tap:
                image.add_(view, alpha=weight)
            else:
                torch.mul(view, weight, out=image)
    return out


def bilinear(images_BCHW: Tensor, y_BHW: Tensor, x_BHW: Tensor, *, edge: str) -> Tensor:
    """The images at real coordinates (px, float32). edge: "mirror" repeats no edge pixel, "reflect" repeats it."""
    height, width = images_BCHW.shape[-2:]
    whole = edge == "mirror"
    planes = x_BHW.new_empty(
        len(x_BHW), 2, *x_BHW.shape[1:]
    )  # x and y apart: interleaving them takes longer than all else
    for plane, place, side in ((planes[:, 0], x_BHW, width), (planes[:, 1], y_BHW, height)):
        if whole:
            torch.mul(place, 2 / (side - 1), out=plane)
        else:
            torch.mul(place, 2, out=plane).add_(1).div_(side)
    grid = planes.sub_(1).permute(0, 2, 3, 1)
    return F.grid_sample(images_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=whole)
