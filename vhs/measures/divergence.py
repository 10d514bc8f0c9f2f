"""How differently two heads attend, or one head on two versions of an image: Jensen-Shannon divergence of maps.

Letters: G heads (of one layer or of several), R images times windows, Q queries, K keys.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vhs.measures.attention import row_entropy


def pair_divergences(maps_GRQK: Tensor, entropies_GRQ: Tensor, first: int, others: list[int]) -> Tensor:
    """float32 [len(others), R]: mean over query rows of JSD(head `first`, head j), in [0, ln 2] nats.

    JSD(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2, natural logarithm (Lin 1991); per row as in Clark
    et al. 2019 (arXiv:1906.04341), who sum over rows where we take the mean, so that models compare.
    entropies: of every row.
    """
    chosen = torch.tensor(others).to(maps_GRQK.device, non_blocking=True)  # a list as index would wait for the device
    mixed = row_entropy((maps_GRQK[first] + maps_GRQK[chosen]) / 2)
    apart = (entropies_GRQ[first] + entropies_GRQ[chosen]) / 2
    return (mixed - apart).clamp(min=0).mean(-1)


def divergence(a: Tensor, b: Tensor) -> Tensor:
    """[...]: mean over query rows of the JSD of maps [..., Q, K], nats."""
    apart = row_entropy((a + b) / 2) - (row_entropy(a) + row_entropy(b)) / 2
    return apart.clamp(min=0).mean(-1)


def pairs(groups: list[list[int]]) -> list[tuple[int, list[int]]]:
    """(head, the later heads of its group) for every head that has any."""
    return [(group[i], group[i + 1 :]) for group in groups for i in range(len(group) - 1)]
