"""What a student is told by a teacher: attention (Ahmad 2024; Li et al. 2024, arXiv:2411.09702), logits (Hinton et al.
2015, arXiv:1503.02531) or a token of its own (DeiT: Touvron et al. 2021, arXiv:2012.12877).

Letters: B images, R images times windows, H heads of the student's layer, I of the teacher's, Q queries, K keys,
O outputs, N tokens, F features of all heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.grid import head_name
from vhs.models.shared_tokens import SharedTokens
from vhs.models.taps import DISTILLED, MADE, SCORES, Seen, Tap
from vhs.training import map_losses
from vhs.training.teacher import Taught


@dataclass(frozen=True)
class Pair:
    """Two layers that are compared. own_heads, other_heads: int64 on the device, which head of either goes with which;
    None for all in their order; averaged: whether averages over all heads are compared instead. open: keys that a query
    may attend to in both layers, where that is not all; called: numbers of either's heads, if not 0, 1, …"""

    own: int
    other: int
    shared: SharedTokens
    own_heads: Tensor | None = None
    other_heads: Tensor | None = None
    averaged: bool = False
    open_QK: Tensor | None = None
    called: tuple[Sequence[int], Sequence[int]] | None = None

    def names(self, own: int, other: int) -> tuple[str, str]:
        """Of a head of either, by its place."""
        numbers = (own, other) if self.called is None else (self.called[0][own], self.called[1][other])
        return head_name(self.own, numbers[0]), head_name(self.other, numbers[1])

    def with_heads(self, own: list[int], other: list[int], heads: tuple[int, int], device: torch.device) -> Pair:
        """With these heads of either. heads: how many the layers have."""
        chosen = [
            None if numbers == list(range(count)) else torch.tensor(numbers, device=device)
            for numbers, count in zip((own, other), heads, strict=True)
        ]
        return replace(self, own_heads=chosen[0], other_heads=chosen[1])

    def apart(self, kind: str, own_RHQK: Tensor, other_RIQK: Tensor) -> Tensor:
        """[R]: the loss, mean over heads and queries, from the scores of either."""
        own = self.shared.of_own(own_RHQK)
        if kind in map_losses.OF_SCORES:
            other = self.shared.scores_of_other(other_RIQK)
            if self.averaged:
                own, other = own.mean(1, keepdim=True), other.mean(1, keepdim=True)
            return map_losses.of_scores(kind, *self._chosen(own, other), self.open_QK).mean((1, 2))
        log_own, other = self.maps(own, other_RIQK)
        if self.averaged:
            log_own = log_own.logsumexp(1, keepdim=True) - math.log(own.shape[1])
            other = other.mean(1, keepdim=True)
        return map_losses.of_maps(kind, *self._chosen(log_own, other)).mean((1, 2))

    def maps(self, own_RHQK: Tensor, other_RIQK: Tensor) -> tuple[Tensor, Tensor]:
        """(logarithm of the student's map, the teacher's map), of shared tokens, from the scores of either; those of
        the student are of shared tokens already."""
        other = map_losses.among_open(self.shared.map_of_other(other_RIQK.softmax(-1)), self.open_QK)
        return map_losses.log_map(own_RHQK, self.open_QK), other

    def _chosen(self, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return _of(own, self.own_heads), _of(other, self.other_heads)


class _OfLayers:
    """Compares what is tapped of pairs of layers."""

    def __init__(self, pairs: list[Pair], what: str) -> None:
        self.pairs = pairs
        self.taps = tuple(Tap(what, pair.own) for pair in pairs)
        self.teacher_taps = tuple(Tap(what, pair.other) for pair in pairs)


class Attention(_OfLayers):
    """The attention of layers, mean over the pairs of them."""

    def __init__(self, pairs: list[Pair], loss: str) -> None:
        super().__init__(pairs, SCORES)
        self._loss = loss

    def per_image(self, seen: Seen, taught: Taught, images: int) -> Tensor:
        """[B]."""
        found = [
            pair.apart(self._loss, seen[Tap(SCORES, pair.own)], taught.seen[Tap(SCORES, pair.other)])
            .view(images, -1).mean(1)
            for pair in self.pairs
        ]  # fmt: skip
        return torch.stack(found).mean(0)


class Relations(_OfLayers):
    """Relations between tokens' queries, keys and values, of layers: the KL divergence of the student's from the
    teacher's, mean over these three and the pairs of layers."""

    def __init__(self, pairs: list[Pair], heads: int) -> None:
        super().__init__(pairs, MADE)
        self._heads = heads

    def per_image(self, seen: Seen, taught: Taught, images: int) -> Tensor:
        """[B]."""
        del images
        found = []
        for pair in self.pairs:
            made = seen[Tap(MADE, pair.own)].chunk(3, -1), taught.seen[Tap(MADE, pair.other)].chunk(3, -1)
            for own_BNF, other_BNF in zip(*made, strict=True):
                own, other = (map_losses.relation(part, self._heads) for part in (own_BNF, other_BNF))
                found.append(pair.apart("kl", own, other))
        return torch.stack(found).mean(0)


def soft(student_BO: Tensor, teacher_BO: Tensor, temperature: float) -> Tensor:
    """KL divergence of softened answers times temperature^2, mean over samples, nats."""
    own, other = ((logits / temperature).log_softmax(-1) for logits in (student_BO.float(), teacher_BO))
    return F.kl_div(own, other, log_target=True, reduction="batchmean") * temperature**2


def of_logits(kind: str, logits_BO: Tensor, seen: Seen, taught: Taught, temperature: float) -> Tensor:
    """The terms `logits`, `token` (the teacher's answer as a label) and `token-soft`."""
    assert taught.logits_BO is not None, "a teacher of the student's outputs"
    own = logits_BO if kind == "logits" else seen[Tap(DISTILLED)]
    if kind == "token":
        return F.cross_entropy(own.float(), taught.logits_BO.argmax(-1))
    return soft(own, taught.logits_BO, temperature)


def _of(found: Tensor, heads: Tensor | None) -> Tensor:
    return found if heads is None else found[:, heads]
