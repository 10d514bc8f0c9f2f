"""What a head's attention follows in an image: edges, corners, local texture, brightness, colour, the centre.

Partial rank correlation, over patches, of what a head looks at with a feature of the image: of edges, corners and
texture each with the other two held fixed, because they overlap. Two nulls. From the correlation with an image's own
feature the one with *other images'* is taken: a head that looks at the centre follows whatever most images have there.
And the same feature shifted cyclically over the grid, smooth as it is, says how large such correlations are by chance
(shuffled patches would not: their map is rough, and 68 % of unrelated smooth maps then seem to follow it).

Letters: B images, H heads, P patches, F features, M other images, S shifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

NAMES = ("edges", "corners", "texture", "brightness", "colour", "centre")
OVERLAPPING = 3
"""The first of NAMES, each of which is taken with the others of them held fixed."""
BY_IMAGE = 5
"""The first of NAMES, which are not the same in every image."""
SHIFTS = 6
LUMA = (0.299, 0.587, 0.114)
EPS = 1e-6
EVEN = 1e-5
"""A map that varies by less than this share of its largest value is the same everywhere."""


def of_images(images_BCHW: Tensor, grid: tuple[int, int]) -> Tensor:
    """float32 [B, F, P]: the features of each patch, by rows. images: uint8 or float, C 1 or 3.

    Edges: mean Sobel gradient. Corners: mean of the smaller eigenvalue of the structure tensor (Shi & Tomasi 1994)
    over 5 x 5 px. Texture: deviation of what a 5 x 5 mean leaves. Brightness: mean luminance (Rec. 601). Colour: mean
    distance from grey. Centre: minus the distance from the grid's middle.
    """
    images = images_BCHW.float()
    weights = LUMA if images.shape[1] == 3 else (1.0,)
    grey = torch.stack([images[:, channel] * weight for channel, weight in enumerate(weights)], 1).sum(1, keepdim=True)
    across, down = _gradients(grey)
    edges = (across**2 + down**2).sqrt()
    corners = _smaller_eigenvalue(_mean5(across**2), _mean5(across * down), _mean5(down**2))
    rest = (grey - _mean5(grey)) ** 2
    colour = (images - grey).square().sum(1, keepdim=True).sqrt()
    colour = colour.masked_fill(
        images.amax(1, keepdim=True) == images.amin(1, keepdim=True), 0
    )  # or rounding has ranks
    maps = torch.cat([edges, corners, rest, grey, colour], 1)
    pooled = F.adaptive_avg_pool2d(maps, grid).flatten(2)
    pooled[:, 2] = pooled[:, 2].sqrt()
    return torch.cat([pooled, _centre(grid, pooled).expand(len(pooled), 1, -1)], 1)


def _gradients(grey_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel, borders repeated."""
    padded = F.pad(grey_B1HW, (1, 1, 1, 1), mode="replicate")
    smooth = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    other = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return smooth[..., 2:] - smooth[..., :-2], other[..., 2:, :] - other[..., :-2, :]


def _mean5(values: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(values, (2, 2, 2, 2), mode="replicate"), 5, stride=1)


def _smaller_eigenvalue(xx: Tensor, xy: Tensor, yy: Tensor) -> Tensor:
    return ((xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()).clamp(min=0)


def _centre(grid: tuple[int, int], like: Tensor) -> Tensor:
    """[1, P]."""
    rows, columns = (torch.linspace(-1, 1, side, device=like.device, dtype=like.dtype) for side in grid)
    return -(rows[:, None] ** 2 + columns[None] ** 2).sqrt().view(1, -1)


def ranked(values: Tensor) -> Tensor:
    """float32, same shape: ranks along the last axis, equal values sharing their mean rank, centred, of unit norm.

    Zero where all values are equal.
    """
    ordered = values.contiguous().sort(-1).values
    low = torch.searchsorted(ordered, values.contiguous())
    high = torch.searchsorted(ordered, values.contiguous(), right=True)
    ranks = (low + high).float() / 2
    centred = ranks - ranks.mean(-1, keepdim=True)
    return centred / centred.norm(dim=-1, keepdim=True).clamp(min=EPS)


def _flattened(maps: Tensor) -> Tensor:
    """Maps that are even but for rounding made even: their ranks would be noise."""
    even = maps.amax(-1) - maps.amin(-1) <= EVEN * maps.abs().amax(-1)
    return maps.masked_fill(even[..., None], 0)


def partial_correlations(r: Tensor, among: Tensor) -> Tensor:
    """float32 [..., F] from rank correlations: of the first OVERLAPPING features with the others of them held fixed.

    r: [..., F] of heads with features; among: [..., F, F] of features, broadcast to it. NaN where a feature follows
    from the others.
    """
    given = [_given(r, among, index) for index in range(OVERLAPPING)]
    return torch.cat([torch.stack(given, -1), r[..., OVERLAPPING:]], -1)


def _given(r: Tensor, among: Tensor, index: int) -> Tensor:
    """[...]: the correlation with one feature, two others held fixed; in closed form, since they are two."""
    a, b = (other for other in range(OVERLAPPING) if other != index)
    ab, ia, ib = among[..., a, b], among[..., index, a], among[..., index, b]
    ra, rb = r[..., a], r[..., b]
    free = (1 - ab**2).clamp(min=EPS)
    explained = ra * ((ia - ab * ib) / free) + rb * ((ib - ab * ia) / free)
    left_feature = 1 - (ia**2 + ib**2 - 2 * ab * ia * ib) / free
    left_head = 1 - (ra**2 + rb**2 - (2 * ab) * ra * rb) / free
    rest = left_feature * left_head
    return torch.where(rest > 1e-4, (r[..., index] - explained) / rest.clamp(min=EPS).sqrt(), torch.nan)


@dataclass(frozen=True)
class Followed:
    """value_BHF: own less other images' correlation (centre: own); null_SBHF: that with shifted features."""

    value_BHF: Tensor
    null_SBHF: Tensor


def followed(
    looks_BHP: Tensor, features_BFP: Tensor, others_MFP: Tensor, same_BM: Tensor, shifts_BS2: Tensor,
    grid: tuple[int, int],
) -> Followed:  # fmt: skip
    """How far each head follows each feature.

    features, others: as of_images gives them; same_BM: whether another image is the image itself; shifts: rows and
    columns by which each image's features are moved on.
    """
    looks, own, other = (ranked(_flattened(part)) for part in (looks_BHP, features_BFP, others_MFP))
    value = _correlations(looks, own[:, None])[..., 0, :]
    every = _correlations(looks, other[None].expand(len(looks), -1, -1, -1)).masked_fill(
        same_BM[:, None, :, None], torch.nan
    )
    elsewhere = every.nanmean(2)
    elsewhere[..., BY_IMAGE:] = 0
    moved = torch.stack([_moved(own, shifts_BS2[:, index], grid) for index in range(shifts_BS2.shape[1])], 1)
    return Followed(value - elsewhere, _correlations(looks, moved).movedim(2, 0))


def _correlations(looks_BHP: Tensor, features_BVFP: Tensor) -> Tensor:
    """float32 [B, H, V, F]: partial rank correlations with V versions of the features.

    NaN where a feature, or a head's map, is the same everywhere.
    """
    versions = features_BVFP.shape[1]
    r_BHVF = (looks_BHP @ features_BVFP.flatten(1, 2).mT).unflatten(-1, (versions, -1))
    among_BVFF = features_BVFP @ features_BVFP.mT
    constant = looks_BHP.square().sum(-1)[..., None, None] == 0
    constant = constant | (features_BVFP.square().sum(-1) == 0)[:, None]
    return partial_correlations(r_BHVF, among_BVFF[:, None]).masked_fill(constant, torch.nan)


def _moved(features_BFP: Tensor, shifts_B2: Tensor, grid: tuple[int, int]) -> Tensor:
    """The features moved on cyclically over the grid, each image's by its own shift."""
    rows, columns = grid
    places = torch.arange(rows * columns, device=features_BFP.device)
    row = (places // columns + shifts_B2[:, :1]) % rows
    column = (places % columns + shifts_B2[:, 1:]) % columns
    return features_BFP.gather(-1, (row * columns + column)[:, None].expand_as(features_BFP))
