"""Which heads of a teacher a student's become, where `match` decides: by the likeness of maps on the same images.

Letters: B images, R images times windows, H heads of the student's layer, I of the teacher's, Q queries, K keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vhs.measures.divergence import divergence
from vhs.models.taps import SCORES, Seen, Tap
from vhs.training.distillation import Attention, Pair
from vhs.world import world

SHARE = 5
"""Heads are assigned anew during a fifth of the updates: maps that have learned nothing yet are noise."""


@dataclass
class Assignment:
    """Assigns and keeps. term: whose pairs are set; images: pixels of the student, always the same; teacher: its taps'
    tensors of them; last: the update before which heads were last assigned; done: whether they stay."""

    term: Attention
    pixels_BCHW: Tensor
    teacher: Callable[[Tensor], Seen]
    last: int | None = None
    done: bool = False
    chosen: list[list[list[int]]] = field(default_factory=list)

    def due(self, step: int, per_epoch: int, total: int) -> bool:
        """Whether to assign before update `step`: at the start of every epoch of the first fifth, and at its end."""
        end = -(-total // SHARE)
        return not self.done and (self.last is None or step >= end or (step % per_epoch == 0 and step != self.last))

    def update(self, step: int, total: int, student: Callable[[Tensor], Seen]) -> None:
        """Assign anew. student: its taps' tensors, without gradients."""
        own, other = student(self.pixels_BCHW), self.teacher(self.pixels_BCHW)
        self.restore(
            [_best(pair, own[Tap(SCORES, pair.own)], other[Tap(SCORES, pair.other)]) for pair in self.term.pairs]
        )
        self.last, self.done = step, step >= -(-total // SHARE)

    def restore(self, chosen: list[list[list[int]]]) -> None:
        """Set the pairs: for each pair of layers [student's heads, teacher's heads]."""
        self.chosen = chosen
        device = self.pixels_BCHW.device
        self.term.pairs = [
            pair.with_heads(own, other, (-1, -1), device)
            for pair, (own, other) in zip(self.term.pairs, chosen, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """For a state that is saved."""
        return {"chosen": self.chosen, "last": self.last, "done": self.done}

    def from_json(self, saved: dict[str, Any]) -> None:
        """Go on from a saved state."""
        if saved["last"] is not None:
            self.restore(saved["chosen"])
        self.last, self.done = saved["last"], saved["done"]

    def in_words(self) -> str:
        """`L0H0=L0H2 L0H1=L0H0 …`: the student's head and the teacher's."""
        found = [
            "=".join(pair.names(mine, its))
            for pair, (own, other) in zip(self.term.pairs, self.chosen, strict=True)
            for mine, its in zip(own, other, strict=True)
        ]
        return " ".join(found)


def _best(pair: Pair, own_RHQK: Tensor, other_RIQK: Tensor) -> list[list[int]]:
    """[student's heads, teacher's heads] of the assignment with the highest mean likeness, by the first process."""
    from scipy.optimize import linear_sum_assignment

    likeness_HI = alike(*_maps(pair, own_RHQK, other_RIQK))
    if world()[1] > 1:
        torch.distributed.broadcast(likeness_HI, 0)
    mine, its = linear_sum_assignment(likeness_HI.cpu().numpy(), maximize=True)
    return [mine.tolist(), its.tolist()]


def _maps(pair: Pair, own_RHQK: Tensor, other_RIQK: Tensor) -> tuple[Tensor, Tensor]:
    log_own, other = pair.maps(pair.shared.of_own(own_RHQK), other_RIQK)
    own = log_own.exp() if pair.open_QK is None else log_own.exp().masked_fill(~pair.open_QK, 0)
    return own, other


def alike(own_RHQK: Tensor, other_RIQK: Tensor) -> Tensor:
    """float64 [H, I]: -JSD of every two heads, nats, mean over images and queries."""
    return torch.stack([-divergence(own, other_RIQK).double().mean(0) for own in own_RHQK.split(1, 1)])
