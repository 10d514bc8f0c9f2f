"""Weights of samples in attention distillation, by who answers them right (the outlook of Ahmad 2024, who would lower
the term where the student errs; his reason for it is where the teacher errs).

Letters: B images of the whole update, b those of this process.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vhs.seeds import hash64
from vhs.world import world


@dataclass(frozen=True)
class Adaptive:
    """by: teacher, student or both, whose right answer gives weight 1, any other giving `wrong`; control: the same
    weights given to other samples of the update, drawn by seed and step. Weights have mean 1 over the update."""

    by: str
    wrong: float
    control: bool
    seed: int

    def weights(self, student_b: Tensor, teacher_b: Tensor | None, rows_b: Tensor, batch: int, step: int) -> Tensor:
        """[b], detached. student, teacher: whether each answers a sample right; None where it is not asked."""
        right = student_b if self.by == "student" else teacher_b
        assert right is not None
        right = right & student_b if self.by == "both" else right
        weights_B = _of_all(torch.where(right, 1.0, self.wrong), rows_b, batch)
        if self.control:
            generator = torch.Generator().manual_seed(hash64(self.seed, "adaptive", step) & (2**63 - 1))
            weights_B = weights_B[torch.randperm(batch, generator=generator).to(rows_b.device, non_blocking=True)]
        return (weights_B / weights_B.mean())[rows_b]


def _of_all(values_b: Tensor, rows_b: Tensor, batch: int) -> Tensor:
    """[B]: those of all processes, in the order of the update."""
    whole = torch.zeros(batch, device=values_b.device).index_copy_(0, rows_b, values_b.detach())
    if world()[1] > 1:
        torch.distributed.all_reduce(whole)
    return whole
