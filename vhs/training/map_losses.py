"""How far a student's attention is from a teacher's: four losses of scores and maps, and that of relations.

`mse` and `mse-centred` are of scores, what the softmax receives: a mean over samples, heads, queries and keys. A
softmax takes no notice of a constant added to a row of scores; `mse` does (Ahmad 2024, eq. 2.9), `mse-centred` does
not. `ce` and `kl` are of maps, -sum t ln s and sum t ln (t / s) nats: a mean over samples, heads and queries. They
differ by the teacher's entropy, so their gradients are equal for a teacher that does not learn.

Letters: R images times windows, H heads, Q queries, K keys, B images, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

OF_SCORES = ("mse", "mse-centred")


def of_scores(kind: str, own_RHQK: Tensor, other_RHQK: Tensor, open_QK: Tensor | None = None) -> Tensor:
    """[R, H, Q]: `mse` or `mse-centred`, by row. open: keys that both attend to, where not all are."""
    apart = own_RHQK - other_RHQK
    if open_QK is not None:
        apart = (own_RHQK.masked_fill(~open_QK, 0) - other_RHQK.masked_fill(~open_QK, 0)).float()
    count = apart.shape[-1] if open_QK is None else open_QK.sum(-1)
    if kind == "mse-centred":
        apart = apart - (apart.sum(-1) / count)[..., None]
        apart = apart if open_QK is None else apart.masked_fill(~open_QK, 0)
    return apart.square().sum(-1) / count


def log_map(scores_RHQK: Tensor, open_QK: Tensor | None = None) -> Tensor:
    """The map's logarithm, among open keys; 0 at the others."""
    if open_QK is None:
        return scores_RHQK.log_softmax(-1)
    return scores_RHQK.masked_fill(~open_QK, -torch.inf).log_softmax(-1).masked_fill(~open_QK, 0)


def among_open(map_RHQK: Tensor, open_QK: Tensor | None) -> Tensor:
    """The map on open keys only, rows summing to 1."""
    if open_QK is None:
        return map_RHQK
    kept = map_RHQK.masked_fill(~open_QK, 0)
    return kept / kept.sum(-1, keepdim=True).clamp(min=1e-12)


def of_maps(kind: str, own_log_RHQK: Tensor, other_RHQK: Tensor) -> Tensor:
    """[R, H, Q], nats: `ce` or `kl`, by row. own_log: logarithms of the student's; other: the teacher's map."""
    crossed = -(other_RHQK * own_log_RHQK).sum(-1)
    return crossed if kind == "ce" else crossed + torch.xlogy(other_RHQK, other_RHQK).sum(-1)


def relation(made_BNK: Tensor, heads: int) -> Tensor:
    """[B, heads, N, N]: scaled products of every token's queries (or keys, or values) with every other's, all heads'
    features beside each other split anew into so many (MiniLMv2: Wang et al. 2021, arXiv:2012.15828)."""
    batch, count, width = made_BNK.shape
    with torch.autocast(made_BNK.device.type, enabled=False):
        split = made_BNK.float().view(batch, count, heads, width // heads).transpose(1, 2)
        return split @ split.mT * (width // heads) ** -0.5
