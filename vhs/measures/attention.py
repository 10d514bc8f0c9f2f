"""How each head spreads its attention: distance, entropy, mass on the class token.

Letters: B samples, H heads, N tokens (class token and registers first), P patches.
Attention weight is not contribution: see docs/methods.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

METRICS = (
    ("distance", "patches", "px"),
    ("distance_patch", "patches", "px"),
    ("entropy", "all", "nats"),
    ("entropy_normalised", "all", "1"),
    ("entropy", "class", "nats"),
    ("class_mass", "patches", "1"),
)
"""(metric, queries averaged over, unit); a model without class token lacks those that name it."""


def patch_distances(grid: tuple[int, int], patch: int, device: torch.device) -> Tensor:
    """float32 [P, P]: Euclidean distance in px between patch centres, row-major over `grid`."""
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], device=device), torch.arange(grid[1], device=device), indexing="ij"
    )
    centres = torch.stack([rows.flatten(), columns.flatten()], dim=1).float() * patch
    return torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")


def head_metrics(maps_BHNN: Tensor, distances_PP: Tensor, *, has_class_token: bool) -> list[Tensor]:
    """float32 [B, H] for each applicable entry of METRICS, in that order.

    distance: mean over patch queries of the attention-weighted distance to the patches, special
    tokens dropped and not renormalised (Raghu et al. 2021, arXiv:2108.08810, in Dosovitskiy's form).
    distance_patch: the same renormalised over patches. entropy: of each query's attention over all
    keys; normalised by ln(keys). class_mass: attention of patch queries on the class token.
    """
    special = maps_BHNN.shape[-1] - distances_PP.shape[0]
    to_patches = maps_BHNN[..., special:, special:]
    raw = (to_patches * distances_PP).sum(-1)
    entropy = row_entropy(maps_BHNN)
    values = [
        raw.mean(-1),
        (raw / to_patches.sum(-1).clamp(min=1e-12)).mean(-1),
        entropy.mean(-1),
        entropy.mean(-1) / math.log(maps_BHNN.shape[-1]),
    ]
    if has_class_token:
        values += [entropy[..., 0], maps_BHNN[..., special:, 0].mean(-1)]
    return values


def row_entropy(maps: Tensor) -> Tensor:
    """Entropy in nats of each row (last axis), in [0, ln N]; 0 ln 0 is 0."""
    return -(maps * maps.clamp(min=1e-30).log()).sum(-1)
