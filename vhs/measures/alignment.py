"""How alike what two heads write is: linear CKA between their outputs, the tokens of an image against each other.

Kornblith et al. 2019 (arXiv:1905.00414), with the unbiased HSIC of Song et al. 2012 averaged over images before the
ratio is taken, as Nguyen et al. 2021 (arXiv:2010.15327) do over minibatches. So it streams, and an image counts alike
whatever the tile.

Letters: B images, G heads, T tokens, W features a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

FEWEST = 4
"""Tokens that the unbiased estimate needs."""


def similarities(written_BTGW: Tensor) -> Tensor:
    """float32 [B, G, G]: unbiased HSIC of each two heads' linear kernels over an image's tokens.

    Outputs are centred and scaled to mean square 1 first; of the latter the ratio sees how images are weighed.
    """
    tokens = written_BTGW.shape[1]
    outputs = written_BTGW.transpose(1, 2)
    outputs = outputs - outputs.mean(2, keepdim=True)  # the estimate does not see it, and float32 would drown in it
    size = outputs.square().mean((-1, -2), keepdim=True).clamp(min=1e-30).sqrt()
    kernels = (outputs / size) @ (outputs / size).mT
    kernels.diagonal(dim1=-2, dim2=-1).zero_()
    rows_BGT = kernels.sum(-1)
    sums_BG = rows_BGT.sum(-1)
    flat = kernels.flatten(2)
    products = flat @ flat.mT
    totals = sums_BG[:, :, None] * sums_BG[:, None] / ((tokens - 1) * (tokens - 2))
    crossed = rows_BGT @ rows_BGT.mT * (2 / (tokens - 2))
    return (products + totals - crossed) / (tokens * (tokens - 3))


def upper(similarities_BGG: Tensor, pairs: list[tuple[int, int]]) -> dict[str, Tensor]:
    """ab, aa and bb of each pair, [J, B]."""
    a, b = (torch.tensor(side).to(similarities_BGG.device, non_blocking=True) for side in zip(*pairs, strict=True))
    of = similarities_BGG.permute(1, 2, 0)
    return {"ab": of[a, b], "aa": of[a, a], "bb": of[b, b]}
