"""Integer tallies: sums that do not depend on order, chunks, workers or ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 2.0**24
"""Fixed point: one unit of a tallied float is 2^-24 (nats, nats² or a probability)."""


@dataclass(frozen=True)
class Counts:
    """int64 tallies; the last axis is named by `fields`, the one before it is the fold."""

    values: np.ndarray
    fields: tuple[str, ...]

    def __getitem__(self, field: str) -> np.ndarray:
        """int64 [..., FOLDS]: the tallies called `field`."""
        return self.values[..., self.fields.index(field)]

    def total(self, field: str) -> np.ndarray:
        """int64 [...]: `field` summed over folds."""
        return self[field].sum(-1)

    def total_float(self, field: str) -> np.ndarray:
        """float64 [...]: a fixed-point `field` summed over folds, in its own unit."""
        return from_fixed(self.total(field))


def to_fixed(values: Tensor) -> Tensor:
    """Floats as int64 fixed point, each rounded on its own (half to even)."""
    import torch

    return torch.round(values.double() * SCALE).to(torch.int64)


def from_fixed(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64) / SCALE
