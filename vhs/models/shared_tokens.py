"""What the maps of two layers have in common: the tokens of both, the one's patches resampled to the other's grid.

Tokens before the patches are matched by name (class token with class token, first register with first register), and
what only one of the two has is left out of both, so that what is compared is attention among shared tokens.

Letters: R images times windows, H heads, Q queries, K keys of the one layer, U and V of the other, P patches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from vhs.models.tokens import GLOBAL, Layout

Resample = Callable[[Tensor, tuple[int, int], tuple[int, int]], Tensor]


@dataclass(frozen=True)
class SharedTokens:
    """own, other: layouts; `of_own` and `of_other` bring tensors of either to the tokens they share."""

    own: Layout
    other: Layout

    @property
    def whole(self) -> bool:
        """Whether both maps are of the same tokens, so that nothing is left out or resampled."""
        return replace(self.own, patch=(1, 1)) == replace(self.other, patch=(1, 1))

    @property
    def special(self) -> tuple[str, ...]:
        """Names of the shared tokens before the patches, in the order of the one's."""
        return tuple(self.own.special[place] for place in self._places[0])

    def refusal(self) -> str | None:
        """Why the two cannot be compared; None when they can."""
        if self.whole:
            return None
        placed = all(layout.kind == GLOBAL and layout.grid is not None for layout in (self.own, self.other))
        return None if placed else f"{in_words(self.other)} beside {in_words(self.own)}"

    def of_own(self, map_RHQK: Tensor) -> Tensor:
        """The one's map or scores, of the shared tokens only; rows of a map no longer sum to 1."""
        return map_RHQK if self.whole else _pick(map_RHQK, self.own, self._places[0])

    def scores_of_other(self, scores_RHUV: Tensor) -> Tensor:
        """[R, H, Q, K]: the other's scores, interpolated over the grid."""
        return self._of_other(scores_RHUV, resample)

    def map_of_other(self, map_RHUV: Tensor) -> Tensor:
        """[R, H, Q, K]: the other's map, rows summing to 1; what falls on a patch is spread or gathered with it."""
        if self.whole:
            return map_RHUV
        found = self._of_other(map_RHUV, spread)
        return found / found.sum(-1, keepdim=True).clamp(min=1e-12)

    def _of_other(self, found: Tensor, over_keys: Resample) -> Tensor:
        """Keys first, then queries, whose rows are averaged and stay what they are."""
        if self.whole:
            return found
        found = _pick(found, self.other, self._places[1])
        if self.own.grid == self.other.grid:
            return found
        count = len(self._places[1])
        found = self._patches(found, count, over_keys)
        return self._patches(found.mT, count, resample).mT

    def _patches(self, found: Tensor, special: int, resampled: Resample) -> Tensor:
        """Along the last axis the patches at the one's grid, the tokens before them as they are."""
        assert self.own.grid is not None and self.other.grid is not None
        patches = resampled(found[..., special:], self.other.grid, self.own.grid)
        return torch.cat([found[..., :special], patches], -1)

    @property
    def _places(self) -> tuple[list[int], list[int]]:
        """Of the shared tokens before the patches: their places in either."""
        named = [_numbered(layout.special) for layout in (self.own, self.other)]
        both = [name for name in named[0] if name in named[1]]
        return [named[0].index(name) for name in both], [named[1].index(name) for name in both]


def resample(values: Tensor, grid: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """[..., patches of `grid`] -> [..., patches of `to`], bilinear; every weight is positive and they sum to 1."""
    lead = values.shape[:-1]
    flat = values.reshape(prod(lead), 1, *grid)
    return F.interpolate(flat, to, mode="bilinear", antialias=True, align_corners=False).reshape(*lead, prod(to))


def spread(shares: Tensor, grid: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """The same for shares of something: their sum over patches is kept."""
    found = resample(shares, grid, to)
    return found * (shares.sum(-1, keepdim=True) / found.sum(-1, keepdim=True).clamp(min=1e-12))


def in_words(layout: Layout) -> str:
    """For a message."""
    grid = "" if layout.grid is None else f", grid {layout.grid[0]}x{layout.grid[1]}"
    lying = f" {layout.arrangement}" if layout.arrangement else ""
    return f"{layout.kind}{lying}, {layout.queries} queries, {layout.keys} keys{grid}"


def _pick(found: Tensor, layout: Layout, places: list[int]) -> Tensor:
    """Of queries and keys the special tokens at these places, and all patches."""
    count = len(layout.special)
    if len(places) == count:
        return found
    found = torch.cat([*(found[..., place : place + 1] for place in places), found[..., count:]], -1)
    return torch.cat([*(found[..., place : place + 1, :] for place in places), found[..., count:, :]], -2)


def _numbered(names: tuple[str, ...]) -> list[tuple[str, int]]:
    return [(name, names[:place].count(name)) for place, name in enumerate(names)]
