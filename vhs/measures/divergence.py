"""How differently two heads attend, or one head on two versions of an image: Jensen-Shannon divergence of maps.

Letters: G heads (of one layer or of several), R images times windows, Q queries, K keys.
"""

from __future__ import annotations

import math

from torch import Tensor

from vhs.measures.attention import row_entropy
from vhs.measures.layer import surprise


def divergences_from(maps_GRQK: Tensor, entropies_GRQ: Tensor, first: int) -> Tensor:
    """float32 [G - 1 - first, R]: mean over query rows of JSD(head `first`, each later one), in [0, ln 2] nats.

    JSD(p, q) = H((p + q) / 2) - (H(p) + H(q)) / 2, natural logarithm (Lin 1991); per row as in Clark
    et al. 2019 (arXiv:1906.04341), who sum over rows where we take the mean, so that models compare.
    entropies: of every row.
    """
    later = slice(first + 1, None)
    apart = (entropies_GRQ[first] + entropies_GRQ[later]) / 2
    return (_mixed_entropy(maps_GRQK[first] + maps_GRQK[later]) - apart).clamp(min=0).mean(-1)


def divergence(a: Tensor, b: Tensor) -> Tensor:
    """[...]: mean over query rows of the JSD of maps [..., Q, K], nats."""
    return (_mixed_entropy(a + b) - (row_entropy(a) + row_entropy(b)) / 2).clamp(min=0).mean(-1)


def _mixed_entropy(sums: Tensor) -> Tensor:
    """The entropy of half of `sums`, whose rows sum to 2: ln 2 less half the sum of s ln s."""
    return math.log(2) - surprise(sums).sum(-1) / 2
