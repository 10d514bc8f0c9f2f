"""Which regions of an image a head looks at, and whether it does so because they are there.

Enrichment is a sum of attention over a sum of area, never a mean of ratios: attention on a region, per area, in units
of what the whole image gets. Its reference answers whether a head only looks at that *place*: the same pixels of the
bare twin where the region is not on it; elsewhere the same region as it lies in other images.

Letters: B images, H heads, P patches, G regions, M other images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.errors import MismatchError

MOST_LEVELS = 9
"""Of activity."""
FIELDS = ("n", "inside", "area", "all", "patches", "ref_inside", "ref_area", "ref_all")


def shares(maps_BHW: Tensor, regions: int, grid: tuple[int, int]) -> Tensor:
    """float32 [B, G, P]: how much of each patch is of each region. maps: int positions of regions, by pixel."""
    one_hot = F.one_hot(maps_BHW.long().clamp(max=regions), regions + 1)[..., :regions]
    return F.adaptive_avg_pool2d(one_hot.permute(0, 3, 1, 2).float(), grid).flatten(2)


def differing(images_BCHW: Tensor, twins_BCHW: Tensor, maps_BHW: Tensor, regions: int) -> Tensor:
    """bool [B, G]: whether an image differs from its twin inside a region."""
    apart = (images_BCHW != twins_BCHW).any(1)
    return torch.stack([(apart & (maps_BHW == region)).flatten(1).any(1) for region in range(regions)], 1)


def tallied(
    looks_BHP: Tensor, shares_BGP: Tensor, others_MGP: Tensor, same_BM: Tensor, on_twin_BHP: Tensor | None,
    added_BG: Tensor | None,
) -> dict[str, Tensor]:  # fmt: skip
    """The FIELDS of each region, head and image, [G, H, B].

    others: other images' shares, same: which of them are the image itself; on_twin: what heads look at on the bare
    twin; added: which regions are not on that.
    """
    inside = torch.einsum("bhp,bgp->ghb", looks_BHP, shares_BGP)
    area = shares_BGP.sum(-1).T[:, None].expand_as(inside)
    every = looks_BHP.sum(-1).T[None].expand_as(inside)
    there = area > 0
    weight_BM = (~same_BM).float()
    elsewhere_BGP = torch.einsum("bm,mgp->bgp", weight_BM / weight_BM.sum(1, keepdim=True).clamp(min=1), others_MGP)
    reference = torch.einsum("bhp,bgp->ghb", looks_BHP, elsewhere_BGP)
    ref_area = elsewhere_BGP.sum(-1).T[:, None].expand_as(inside)
    ref_all = every
    if on_twin_BHP is not None and added_BG is not None:
        chosen = added_BG.T[:, None]
        reference = torch.where(chosen, torch.einsum("bhp,bgp->ghb", on_twin_BHP, shares_BGP), reference)
        ref_area = torch.where(chosen, area, ref_area)
        ref_all = torch.where(chosen, on_twin_BHP.sum(-1).T[None], ref_all)
    patches = torch.full_like(inside, looks_BHP.shape[-1])
    values = (there.float(), inside, area, every, patches, reference, ref_area, ref_all)
    return {name: value * there for name, value in zip(FIELDS, values, strict=True)}


def activity(looks_BP: Tensor, levels: int, grid: tuple[int, int]) -> Tensor:
    """int64 [B, P]: the level of activity of each patch, 0 the least: the attention to 2 x 2 patches, in clusters."""
    rows, columns = grid
    pooled = F.avg_pool2d(looks_BP.view(-1, 1, rows, columns), 2, ceil_mode=True, count_include_pad=False)
    if levels > pooled.flatten(1).shape[1]:
        raise MismatchError(
            f"--activity {levels}: the image has {pooled.flatten(1).shape[1]} squares of 2 x 2 patches."
        )
    starts_BK = _cluster_starts(pooled.flatten(1), levels)
    level = (pooled.flatten(1)[..., None] >= starts_BK[:, None]).sum(-1).view(pooled.shape)
    whole = level.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :rows, :columns]
    return whole.flatten(1)


def _cluster_starts(values_BV: Tensor, clusters: int) -> Tensor:
    """[B, clusters - 1]: the least value of each cluster but the first, with the least sum of squares within clusters.

    k-means of numbers has an exact solution by dynamic programming (Wang & Song 2011, Ckmeans.1d.dp): nothing is drawn.
    """
    ordered = values_BV.double().sort(1).values
    count = ordered.shape[1]
    sums, squares = (F.pad(part.cumsum(1), (1, 0)) for part in (ordered, ordered**2))
    sizes = torch.arange(count, device=ordered.device)
    length = (sizes[None] - sizes[:, None] + 1).clamp(min=1)
    within = sums[:, None, 1:] - sums[:, :-1, None]
    cost_BVV = squares[:, None, 1:] - squares[:, :-1, None] - within**2 / length
    cost_BVV = cost_BVV.masked_fill(sizes[None] < sizes[:, None], torch.inf)  # from the first to the last of a cluster
    best = cost_BVV[:, 0]
    firsts: list[Tensor] = []
    for _ in range(clusters - 1):
        before = F.pad(best[:, :-1], (1, 0), value=torch.inf)
        found = (before[:, :, None] + cost_BVV).min(1)
        best, firsts = found.values, [*firsts, found.indices]
    last = torch.full_like(firsts[0][:, :1], count - 1)
    starts = []
    for first in reversed(firsts):
        start = first.gather(1, last)
        starts.append(ordered.gather(1, start))
        last = (start - 1).clamp(min=0)
    return torch.cat(starts[::-1], 1).to(values_BV.dtype)
