"""Tallies of where in an image's regions every head of one model looks.

Letters: B images, H heads of a layer, P patches, R regions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vhs.counts import Counts, to_fixed
from vhs.grid import Head, HeadGrid
from vhs.measures import regions
from vhs.measures.head_values import Look, Wanted
from vhs.measures.layer import Layer, Weighted
from vhs.measures.scoring import Tally
from vhs.models.tokens import GLOBAL

WEIGHTINGS = ("attention", "value")


class RegionEntry(NamedTuple):
    """A row before its numbers: a head, whose queries, how keys are weighted, which region."""

    head: Head
    query: str
    weighting: str
    region: str


class RegionTally:
    """Of layers whose tokens all lie in the image. entries: in the order of the tally, none where none are asked for;
    by_maps: whether regions come from maps beside the images, not from activity."""

    def __init__(self, grid: HeadGrid, layers: list[Layer], wanted: Wanted, device: torch.device) -> None:
        levels = tuple(f"activity {level + 1}" for level in range(wanted.activity))
        self._names, self._levels, self._others = wanted.regions or levels, wanted.activity, wanted.others
        self.by_maps = bool(wanted.regions)
        self._layers = [
            i for i, layer in enumerate(layers) if self._names and layer.layout.kind == GLOBAL and layer.layout.grid
        ]
        heads = list(grid)
        self.entries = [
            RegionEntry(heads[grid.first(index) + head], layers[index].looker, weighting, region)
            for index in self._layers
            for weighting in self._weightings(layers[index])
            for region in self._names
            for head in range(grid.per_layer[index])
        ]
        self._tally = Tally((len(self.entries),), regions.FIELDS, device)

    def add(self, look: Look, on_twin: list[Layer] | None) -> None:
        """on_twin: what was seen on the bare twins."""
        found: list[dict[str, Tensor]] = []
        grids = {look.now.layers[index].layout.grid for index in self._layers}
        by_grid = {grid: self._shares(look, grid) for grid in grids if grid is not None}
        same, added = self._same(look), None if on_twin is None else look.batch.added_BR
        for index in self._layers:
            layer = look.now.layers[index]
            twin = None if on_twin is None else on_twin[index]
            assert layer.layout.grid is not None
            shares, elsewhere = by_grid[layer.layout.grid]
            for weighting in self._weightings(layer):
                maps, twins = (self._weighted(part, weighting) for part in (layer, twin))
                assert maps is not None
                on = None if twins is None else twins.seen_BHP
                found.append(regions.tallied(maps.seen_BHP, shares, elsewhere, same, on, added))
        values = {name: torch.cat([part[name].flatten(0, 1) for part in found]) for name in regions.FIELDS}
        fixed = {name: to_fixed(value) for name, value in values.items()}
        self._tally.add(look.batch.folds_B, fixed | {"n": values["n"].to(torch.int64)})

    def counts(self) -> dict[str, Counts]:
        return {"regions": self._tally.counts()} if self.entries else {}

    def _shares(self, look: Look, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """(shares of each patch of a grid, the same of other images)."""
        count, batch = len(self._names), look.batch
        if not self.by_maps:
            levels = activity_of(look.now.layers, grid, self._levels)
            own = torch.nn.functional.one_hot(levels, count).permute(0, 2, 1).float()
            return own, torch.zeros_like(own[:1])  # what is active has no place of its own in other images
        assert batch.regions_BHW is not None and self._others.regions_MHW is not None
        elsewhere = regions.shares(self._others.regions_MHW, count, grid)
        return regions.shares(batch.regions_BHW, count, grid), elsewhere

    def _same(self, look: Look) -> Tensor:
        if self.by_maps:
            return self._others.same(look.batch)
        return torch.zeros(len(look.batch.keys_B), 1, dtype=torch.bool, device=look.batch.keys_B.device)

    @staticmethod
    def _weightings(layer: Layer) -> tuple[str, ...]:
        return WEIGHTINGS if layer.carried_RHK is not None else WEIGHTINGS[:1]

    @staticmethod
    def _weighted(layer: Layer | None, weighting: str) -> Layer | Weighted | None:
        return layer if weighting == "attention" or layer is None else layer.weighted


def activity_of(layers: list[Layer], grid: tuple[int, int], levels: int) -> Tensor:
    """int64 [B, P]: levels of activity, of the mean over all heads with this grid of what they look at."""
    looks = [layer.seen_BHP.mean(1) for layer in layers if layer.layout.kind == GLOBAL and layer.layout.grid == grid]
    return regions.activity(torch.stack(looks).mean(0), levels, grid)
