"""How differently two heads attend: the Jensen-Shannon divergence of their maps.

Letters: G heads (of one layer or of the whole model), B samples, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vhs.measures.attention import row_entropy


def pair_divergences(maps_GBNN: Tensor, first: int, others: list[int]) -> Tensor:
    """float32 [len(others), B]: mean over query rows of JSD(head `first`, head j), in [0, ln 2] nats.

    JSD(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2, natural logarithm (Lin 1991); per row as in Clark
    et al. 2019 (arXiv:1906.04341), who sum over rows where we take the mean, so that models compare.
    """
    chosen = torch.tensor(others).to(maps_GBNN.device, non_blocking=True)  # a list as index would wait for the device
    p_BNN, q_JBNN = maps_GBNN[first], maps_GBNN[chosen]
    mixed = row_entropy((p_BNN + q_JBNN) / 2)
    apart = (row_entropy(p_BNN) + row_entropy(q_JBNN)) / 2
    return (mixed - apart).clamp(min=0).mean(-1)


def pairs(groups: list[list[int]]) -> list[tuple[int, list[int]]]:
    """(head, the later heads of its group) for every head that has any."""
    return [(group[i], group[i + 1 :]) for group in groups for i in range(len(group) - 1)]


def stack_layers(maps: list[Tensor]) -> Tensor:
    """Per-layer maps [B, H, N, N] -> [G, B, N, N] in grid order."""
    return torch.cat([layer.transpose(0, 1) for layer in maps])
