"""How each head spreads its attention: distance, entropy, mass on the class token.

Letters: B samples, H heads, N tokens (class token and registers first), P patches.
Attention weight is not contribution: see docs/methods.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


def patch_distances(grid: tuple[int, int], patch: int, device: torch.device) -> Tensor:
    """float32 [P, P]: Euclidean distance in px between patch centres, row-major over `grid`."""
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], device=device), torch.arange(grid[1], device=device), indexing="ij"
    )
    centres = torch.stack([rows.flatten(), columns.flatten()], dim=1).float() * patch
    return torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True)
class Maps:
    """weights_BHNN: attention, rows summing to 1; distances_PP: between patch centres, px. The patches come last."""

    weights_BHNN: Tensor
    distances_PP: Tensor

    @property
    def special(self) -> int:
        """Tokens before the patches: class token and registers."""
        return self.weights_BHNN.shape[-1] - self.distances_PP.shape[0]

    @property
    def to_patches_BHPP(self) -> Tensor:
        """From patch queries to patches, not renormalised."""
        return self.weights_BHNN[..., self.special :, self.special :]

    @cached_property
    def distance_BHP(self) -> Tensor:
        """Of each patch query: the attention-weighted distance to the patches, special tokens dropped."""
        return (self.to_patches_BHPP * self.distances_PP).sum(-1)

    @cached_property
    def entropy_BHN(self) -> Tensor:
        """Of each query's attention over all keys, nats."""
        return row_entropy(self.weights_BHNN)


def row_entropy(maps: Tensor) -> Tensor:
    """Entropy in nats of each row (last axis), in [0, ln N]; 0 ln 0 is 0."""
    return -(maps * maps.clamp(min=1e-30).log()).sum(-1)


class Metric(NamedTuple):
    """A measure of a head's map. query: which queries it averages over; unit: of its values; of_class_token: whether it
    needs one; of: float32 [B, H] from Maps."""

    name: str
    query: str
    unit: str
    of_class_token: bool
    of: Callable[[Maps], Tensor]


def _distance(maps: Maps) -> Tensor:
    """Mean over patch queries, not renormalised (Raghu et al. 2021, arXiv:2108.08810, in Dosovitskiy's form)."""
    return maps.distance_BHP.mean(-1)


def _distance_patch(maps: Maps) -> Tensor:
    """The same, renormalised over patches."""
    return (maps.distance_BHP / maps.to_patches_BHPP.sum(-1).clamp(min=1e-12)).mean(-1)


def _entropy_normalised(maps: Maps) -> Tensor:
    """In units of ln(keys)."""
    return maps.entropy_BHN.mean(-1) / math.log(maps.weights_BHNN.shape[-1])


METRICS = (
    Metric("distance", "patches", "px", False, _distance),
    Metric("distance_patch", "patches", "px", False, _distance_patch),
    Metric("entropy", "all", "nats", False, lambda maps: maps.entropy_BHN.mean(-1)),
    Metric("entropy_normalised", "all", "1", False, _entropy_normalised),
    Metric("entropy", "class", "nats", True, lambda maps: maps.entropy_BHN[..., 0]),
    Metric("class_mass", "patches", "1", True, lambda maps: maps.weights_BHNN[..., maps.special :, 0].mean(-1)),
)
"""In the order of the heads table; a model without class token lacks those that need one."""
