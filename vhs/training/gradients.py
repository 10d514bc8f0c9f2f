"""How large a share of an update each part of an objective has, over all processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vhs.world import world


class Norms:
    """Norms of two gradients over all parameters, at one update: that of the answers' weighted loss, and that of all
    other terms."""

    def __init__(self, net: nn.Module) -> None:
        self._learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self._of_answers = torch.zeros(sum(parameter.numel() for parameter in self._learning),
                                       device=self._learning[0].device)  # fmt: skip

    def add(self, answers: tuple[float, Tensor], parts: int) -> None:
        """Before the backward pass of a part."""
        weight, value = answers
        if not weight:
            return
        found = torch.autograd.grad(value * (weight / parts), self._learning, retain_graph=True, allow_unused=True)
        self._of_answers += self._flat(found)

    def both(self) -> Tensor:
        """float64 [2], after the backward pass of the last part."""
        answers = average(self._of_answers)
        whole = self._flat([parameter.grad for parameter in self._learning])
        return torch.stack([answers.double().norm(), (whole - answers).double().norm()])

    def _flat(self, gradients: Iterable[Tensor | None]) -> Tensor:
        return torch.cat(
            [
                torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
                for parameter, gradient in zip(self._learning, gradients, strict=True)
            ]
        )


def average(values: Tensor) -> Tensor:
    """The mean over all processes, each of as many samples."""
    if world()[1] > 1:
        torch.distributed.all_reduce(values)
        values = values / world()[1]
    return values
