"""Where, from a patch, a head looks: its aligned average map, that map's offset, and how positional the head is.

The aligned average map (Walmer et al. 2023, arXiv:2212.03862) shifts every patch query into the middle and averages
over queries and images. Displacements are known in both axes apart, so that grids need not be square.

Letters: B images, R images times windows, H heads, P patches, D displacements, (2 rows - 1) * (2 columns - 1) by rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.measures.layer import Layer
from vhs.models.tokens import Layout


def displacements(grid: tuple[int, int]) -> int:
    """How many displacements two patches of a grid can have."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1)


def displacement_PP(layout: Layout, device: torch.device) -> Tensor:
    """int64 [P, P]: the place of key minus query among the displacements, by rows; the middle is none."""
    assert layout.grid is not None
    rows, columns = layout.grid
    centres = layout.centres_P2(device).long()
    apart = centres[None] - centres[:, None]
    return (apart[..., 0] + rows - 1) * (2 * columns - 1) + apart[..., 1] + columns - 1


def mean_displacement(layer: Layer) -> Tensor:
    """float32 [2, B, H]: from patch queries to what they attend to, by rows and columns, as shares of the grid.

    Coordinates as in Walmer et al.: -1 to 1 over the aligned map, so 1 is the whole grid's side less one patch.
    """
    layout, maps = layer.layout, layer.among_patches
    assert layout.grid is not None
    centres = layout.centres_P2(maps.device)
    apart = (maps.mean(-2) @ centres - centres.mean(0)).unbind(-1)
    sides = [max(side - 1, 1) for side in layout.grid]
    return torch.stack([layer.by_image(part) / side for part, side in zip(apart, sides, strict=True)])


def aligned(layer: Layer) -> Tensor:
    """float32 [B, H, D]: the attention of patch queries by displacement, summing to 1."""
    maps = layer.among_patches
    return _by_displacement(layer, maps) / maps.shape[-1]


def strongest(layer: Layer) -> Tensor:
    """float32 [B, H, D]: how many interior patch queries attend most, themselves apart, at each displacement.

    Interior: not at the grid's border; without such patches, all. Of windows the mean over an image's windows.
    """
    assert layer.layout.grid is not None
    inside = _interior(layer.layout, layer.to_patches.device)
    maps = layer.to_patches[..., inside, :]
    best = maps.scatter(-1, inside[:, None].expand(*maps.shape[:-1], 1), -1.0).argmax(-1)
    places = displacement_PP(layer.layout, maps.device)[inside]
    chosen = places.expand(*best.shape[:2], -1, -1).gather(-1, best[..., None])[..., 0]
    counts = maps.new_zeros(*best.shape[:2], displacements(layer.layout.grid))
    counts.scatter_add_(-1, chosen, torch.ones_like(chosen, dtype=counts.dtype))
    return _by_image(layer, counts)


def _by_displacement(layer: Layer, maps: Tensor) -> Tensor:
    """[B, H, D]: the sums of maps over pairs of patches that lie equally far apart, first across, then down."""
    assert layer.layout.grid is not None
    rows, columns = layer.layout.grid
    by_axis = maps.view(*maps.shape[:2], rows, columns, rows, columns).transpose(3, 4)
    across = _diagonal_sums(by_axis)  # [R, H, rows, rows, 2 columns - 1]
    down = _diagonal_sums(across.movedim(-1, 2))  # [R, H, 2 columns - 1, 2 rows - 1]
    return _by_image(layer, down.transpose(2, 3).flatten(2))


def _diagonal_sums(values: Tensor) -> Tensor:
    """[..., n, n] -> [..., 2 n - 1]: the sums along diagonals, from the lowest (column less row: 1 - n) up.

    Rows, the last first, are written one behind another with n zeros between, and read 2 n - 1 at a time: so that each
    is shifted by one against the next.
    """
    count = values.shape[-1]
    padded = F.pad(values.flip(-2), (0, count)).flatten(-2)
    return padded[..., : count * (2 * count - 1)].unflatten(-1, (count, 2 * count - 1)).sum(-2)


def _by_image(layer: Layer, values_RHD: Tensor) -> Tensor:
    """[B, H, D]: the mean over an image's windows."""
    return values_RHD.unflatten(0, (layer.images, -1)).mean(1)


def _interior(layout: Layout, device: torch.device) -> Tensor:
    """int64: patches that are not at the border; all where every one is."""
    assert layout.grid is not None
    rows, columns = layout.grid
    places = torch.arange(rows * columns, device=device).view(rows, columns)
    inner = places[1:-1, 1:-1].flatten()
    return inner if len(inner) else places.flatten()
