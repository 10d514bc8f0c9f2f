"""How alike the heads of a model are: divergences of their maps, alignment of what they write.

Heads are compared whose maps are of the same tokens: all of one layer; of several layers where these attend in the same
way. Windows that were shifted hold other tokens, so heads of windows are compared within their layer only.

Letters: B images, G heads of a group of layers, J pairs, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vhs.counts import Counts, to_fixed
from vhs.grid import HeadGrid
from vhs.measures import alignment
from vhs.measures.divergence import divergences_from
from vhs.measures.layer import Layer
from vhs.measures.listing import Group
from vhs.measures.observation import Observation
from vhs.measures.scoring import MOMENTS, Tally, moments
from vhs.models.tokens import GLOBAL, WINDOWS, Layout

ALIKE = ("n", "ab", "aa", "bb")


class Pairings:
    """Tallies of one model; `add` what was seen. across: whether layers are compared with each other."""

    def __init__(self, grid: HeadGrid, probe: Observation, device: torch.device, *, across: bool) -> None:
        self._grid, self._heads = grid, list(grid)
        self.groups: list[Group] = []
        jsd = alike = 0
        for layers in _grouped(probe.layers, across=across):
            heads = tuple(grid.first(layer) + head for layer in layers for head in range(grid.per_layer[layer]))
            count = len(heads) * (len(heads) - 1) // 2
            written = _comparable([probe.layers[layer] for layer in layers])
            self.groups.append(Group(tuple(layers), heads, jsd, alike if written else None))
            jsd, alike = jsd + count, alike + count * written
        self._jsd = Tally((jsd,), MOMENTS, device)
        self._alike = Tally((alike,), ALIKE, device)
        self._in_layer = Tally((len(grid),), MOMENTS, device)

    def add(self, seen: Observation, folds_B: Tensor) -> None:
        in_layer = torch.zeros(len(self._grid), len(folds_B), dtype=torch.float64, device=folds_B.device)
        for group in self.groups:
            layers = [seen.layers[index] for index in group.layers]
            maps = torch.cat([layer.weights_RHQK.transpose(0, 1) for layer in layers])
            entropies = torch.cat([layer.entropy_RHQ.transpose(0, 1) for layer in layers])
            done = group.jsd
            for first in range(len(group.heads) - 1):
                jsd_JB = layers[0].by_image(divergences_from(maps, entropies, first).T).T
                self._jsd.add(folds_B, moments(jsd_JB), unit=slice(done, done + len(jsd_JB)))
                done += len(jsd_JB)
                self._share(in_layer, group.heads[first], jsd_JB)
            if group.alike is not None:
                self._add_alike(group, layers, folds_B)
        self._in_layer.add(folds_B, moments(in_layer))

    def counts(self) -> dict[str, Counts]:
        """jsd: [J, FOLDS, fields]; alike: the same, where outputs are compared; in_layer: [G, FOLDS, fields]."""
        tallies = {"jsd": self._jsd, "alike": self._alike, "in_layer": self._in_layer}
        return {name: tally.counts() for name, tally in tallies.items()}

    def _share(self, in_layer_GB: Tensor, first: int, jsd_JB: Tensor) -> None:
        """Add the divergences from the later heads of its layer to both heads' means."""
        head = self._heads[first]
        count = self._grid.per_layer[head.layer]
        later = self._grid.first(head.layer) + count - 1 - first
        if later:
            share = jsd_JB[:later].double() / (count - 1)
            in_layer_GB[first] += share.sum(0)
            in_layer_GB[first + 1 : first + 1 + later] += share

    def _add_alike(self, group: Group, layers: list[Layer], folds_B: Tensor) -> None:
        written = torch.cat([layer.written_BTHW for layer in layers if layer.written_BTHW is not None], 2)
        values = alignment.upper(alignment.similarities(written), group.pairs)
        assert group.alike is not None
        part = slice(group.alike, group.alike + len(group.pairs))
        fixed = {name: to_fixed(value) for name, value in values.items()}
        self._alike.add(folds_B, {"n": torch.ones_like(fixed["ab"])} | fixed, unit=part)


def _grouped(layers: list[Layer], *, across: bool) -> list[list[int]]:
    """Layers by what can be compared, in the order of the first of each."""
    found: dict[object, list[int]] = {}
    for index, layer in enumerate(layers):
        alone = not across or layer.layout.kind == WINDOWS
        found.setdefault((index if alone else None, layer.layout), []).append(index)
    return list(found.values())


def _comparable(layers: list[Layer]) -> bool:
    """Whether what their heads write is known, of tokens enough and features as many."""
    widths = {layer.written_BTHW.shape[-1] if layer.written_BTHW is not None else None for layer in layers}
    layout: Layout = layers[0].layout
    return layout.kind == GLOBAL and layout.queries >= alignment.FEWEST and len(widths) == 1 and None not in widths
