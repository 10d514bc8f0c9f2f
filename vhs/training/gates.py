"""A gate for each head while a network is trained: learned and paid for (L0), or closed by a schedule.

A gate multiplies a head's columns of the output projection, which is the same as multiplying what the head gives there,
so that timm's attention runs unchanged and the saved weights need no gates.

Learned: hard-concrete gates (Louizos et al. 2018, arXiv:1712.01312), of heads as in Voita et al. 2019
(arXiv:1905.09418): one draw a head and update; the penalty is the expected number of open gates. Scheduled: the number
of heads falls from H to N along a cubic curve (Zhu & Gupta 2017, arXiv:1710.01878), the heads of least importance
first, which is the squared gradient of the loss with respect to a head's gate (Molchanov et al. 2019, arXiv:1906.10771)
summed over the updates since the last went; what is left recovers.

Letters: H heads of a layer, W features a head, D width.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vhs.errors import UsageError
from vhs.models import surgery
from vhs.seeds import hash64
from vhs.training.gradients import average
from vhs.training.recipe import Recipe

LOW, HIGH, TEMPERATURE = -0.1, 1.1, 0.33
"""The interval that gates are stretched to before they are cut off at 0 and 1, and the temperature (Voita et al.)."""
OPEN = 2.0
"""log alpha at first: odds of .94 to be open."""
BEGIN, END = 0.1, 0.6
"""Shares of the updates between which a schedule takes heads out."""


class Gate(nn.Module):
    """weight [D, H * W] -> the weight with each head's columns times its gate."""

    def __init__(self, weight: Tensor, heads: int) -> None:
        super().__init__()
        self.width = weight.shape[1] // max(heads, 1)

    def values(self) -> Tensor:
        """[H], 0 to 1."""
        raise NotImplementedError

    def forward(self, weight: Tensor) -> Tensor:
        """Of no heads there are no columns."""
        return weight * self.values().to(weight).repeat_interleave(self.width)


class Learned(Gate):
    """Hard-concrete: drawn while it learns, its most likely value otherwise."""

    def __init__(self, weight: Tensor, heads: int) -> None:
        super().__init__(weight, heads)
        self.log_alpha = nn.Parameter(weight.new_full((heads,), OPEN))
        self.register_buffer("drawn", weight.new_full((heads,), 0.5), persistent=False)
        self.drawn: Tensor

    def values(self) -> Tensor:
        """[H]."""
        if self.training:
            soft = ((self.drawn.log() - (1 - self.drawn).log() + self.log_alpha) / TEMPERATURE).sigmoid()
        else:
            soft = self.log_alpha.sigmoid()
        return (soft * (HIGH - LOW) + LOW).clamp(0, 1)

    def odds(self) -> Tensor:
        """[H]: of being open."""
        return (self.log_alpha - TEMPERATURE * math.log(-LOW / HIGH)).sigmoid()


class Scheduled(Gate):
    """Open or closed. probe: ones, by whose gradient importance is measured; importance: its squares summed."""

    def __init__(self, weight: Tensor, heads: int) -> None:
        super().__init__(weight, heads)
        self.register_buffer("open", weight.new_ones(heads))
        self.register_buffer("importance", weight.new_zeros(heads, dtype=torch.float64))
        self.open: Tensor
        self.importance: Tensor
        self.probe: Tensor | None = None

    def values(self) -> Tensor:
        """[H]."""
        return self.open if self.probe is None else self.open * self.probe


class Gates:
    """The gates of one network in training."""

    def __init__(self, net: nn.Module, recipe: Recipe) -> None:
        """Puts them into the network, in place. Raises UsageError for one whose heads cannot be taken out."""
        self._recipe = recipe
        kind = Learned if recipe.prune_gates else Scheduled
        found = surgery.attentions(net)
        reason = next((words for path, module in found.items() if (words := surgery.refusal(path, module))), None)
        if reason or not found:
            raise UsageError(f"{self._option}: {type(net).__name__}: {reason or 'has no attention by heads'}.")
        self.heads = sum(cast(int, module.num_heads) for module in found.values())
        if recipe.prune_to > self.heads:
            raise UsageError(f"--prune-to {recipe.prune_to}: the model has {self.heads} heads.")
        for module in found.values():
            proj = cast(nn.Linear, module.proj)
            parametrize.register_parametrization(proj, "weight", kind(proj.weight, cast(int, module.num_heads)))
        self._gates = of(net)

    @property
    def _option(self) -> str:
        return "--prune-gates" if self._recipe.prune_gates else "--prune-to"

    def before_update(self, step: int) -> None:
        """Draw, the same on every process; or make ready to measure importance."""
        generator = torch.Generator().manual_seed(hash64(self._recipe.seed, "gates", step) >> 1)
        for gate in self._gates:
            if isinstance(gate, Learned):
                drawn = torch.rand(len(gate.drawn), generator=generator).clamp(1e-6, 1 - 1e-6)
                gate.drawn.copy_(drawn, non_blocking=True)
            elif isinstance(gate, Scheduled):
                gate.probe = torch.ones_like(gate.open).requires_grad_()

    def after_update(self, step: int, total: int) -> None:
        """step: updates that are done, of `total`. Heads go where the schedule says so."""
        gates = [gate for gate in self._gates if isinstance(gate, Scheduled)]
        if not gates:
            return
        slopes = [torch.zeros_like(gate.open) if gate.probe is None or gate.probe.grad is None else gate.probe.grad
                  for gate in gates]  # fmt: skip
        squares = average(torch.cat(slopes)).double() ** 2
        for gate, part in zip(gates, squares.split([len(gate.open) for gate in gates]), strict=True):
            gate.importance += part
            gate.probe = None
        before, now = (left(done, total, self.heads, self._recipe.prune_to) for done in (step - 1, step))
        if now != before:
            self._close(gates, now)

    @torch.no_grad()
    def _close(self, gates: list[Scheduled], wanted: int) -> None:
        """Leave so many heads, the most important; importance begins anew."""
        open_G = torch.cat([gate.open for gate in gates])
        scores_G = torch.cat([gate.importance for gate in gates]).masked_fill(open_G == 0, -1.0)
        kept_G = torch.zeros_like(open_G)
        kept_G[scores_G.argsort(descending=True, stable=True)[:wanted]] = 1
        for gate, part in zip(gates, (kept_G * open_G).split([len(gate.open) for gate in gates]), strict=True):
            gate.open.copy_(part)
            gate.importance.zero_()


def left(step: int, total: int, heads: int, wanted: int) -> int:
    """How many of `heads` a schedule has left after so many updates of `total`."""
    share = min(max((step / max(total, 1) - BEGIN) / (END - BEGIN), 0.0), 1.0)
    return wanted + math.ceil((heads - wanted) * (1 - share) ** 3 - 1e-9)


def of(net: nn.Module) -> list[Gate]:
    """The gates in a network, by layer."""
    return [module for module in net.modules() if isinstance(module, Gate)]


def expected(net: nn.Module) -> Tensor:
    """Expected number of open gates: what learned gates pay for."""
    return torch.stack([gate.odds().sum() for gate in of(net) if isinstance(gate, Learned)]).sum()


@torch.no_grad()
def hand_over(net: nn.Module, average_of_it: nn.Module) -> None:
    """Give the average of a network the gates that it has itself: half an open gate is none."""
    for own, averaged in zip(of(net), of(average_of_it), strict=True):
        averaged.load_state_dict(own.state_dict())


def open_heads(net: nn.Module) -> list[list[int]]:
    """For each layer positions of the heads whose gates are open when nothing is drawn; waits for the device."""
    found = []
    for gate in of(net):
        drawing, gate.training = gate.training, False
        found.append([int(head) for head in np.flatnonzero(gate.values().detach().cpu().numpy())])
        gate.training = drawing
    return found
