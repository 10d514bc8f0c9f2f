"""Stochastic depth whose draws belong to the row of the whole batch, not to the process that runs it.

Letters: B samples of an update over all processes, b those that run now.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.layers import DropPath
from torch import Tensor, nn


@dataclass
class Rows:
    """Which rows of a batch run now. rows_b: int64; None for all that come."""

    batch: int = 0
    rows_b: Tensor | None = None


class SharedDropPath(nn.Module):
    """timm's DropPath, drawn for the whole batch."""

    def __init__(self, odds: float, rows: Rows) -> None:
        super().__init__()
        self.odds, self.rows = odds, rows

    def forward(self, x: Tensor) -> Tensor:
        """Whole rows set to zero at these odds, the others scaled up, in training; x [b, …]."""
        if not self.training or not self.odds:
            return x
        own = len(x) if self.rows.rows_b is None else len(self.rows.rows_b)
        each = len(x) // own  # blocks on windows have several rows an image
        kept = torch.rand(self.rows.batch or own, each, device=x.device) >= self.odds
        if self.rows.rows_b is not None:
            kept = kept[self.rows.rows_b]
        kept = kept.flatten()
        return x * (kept.to(x.dtype) / (1 - self.odds)).view(-1, *[1] * (x.dim() - 1))


def share(net: nn.Module) -> Rows:
    """Replace timm's DropPath modules in place; returns what says which rows run."""
    rows = Rows()
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is DropPath:
                setattr(parent, name, SharedDropPath(child.drop_prob, rows))
    return rows
