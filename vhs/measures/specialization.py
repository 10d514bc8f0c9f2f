"""Tallies of what every head of one model looks at and writes under one condition, and of how alike heads are.

Means over images are tallied as values and squares; what is no mean (an offset, a ratio, a commonest displacement) as
the sums that it is made of, by fold, so that its interval comes from leaving out folds.

Letters: B images, G heads of the model, H of a layer, E entries, J pairs, D displacements, R regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.grid import HeadGrid
from vhs.measures import head_values, offsets
from vhs.measures.attention import QUERY
from vhs.measures.diverse_heads import Disagreement, GradientOverlap
from vhs.measures.head_values import Look, Wanted
from vhs.measures.layer import Layer
from vhs.measures.listing import Listing, Quantity, Rank, RegionRow
from vhs.measures.listing import Placed as PlacedLayer
from vhs.measures.observation import Observer
from vhs.measures.pairings import Pairings
from vhs.measures.region_tally import RegionTally
from vhs.measures.scoring import MOMENTS, Scope, Tally, View, moments
from vhs.models.model import Model
from vhs.models.tokens import GLOBAL, WINDOWS, Layout

NULLS = ("n_null", "null", "null_sq")
OFFSET_FIELDS = ("n", "down", "right")
CHUNK = {"cpu": 1 << 21, "cuda": 1 << 26}
"""About so many weights of a layer are measured at a time, by device: on a CPU what a cache holds (8 MiB)."""


class Specialization:
    """`add` batches of one condition, then read `results`.

    scope: whose classes are answered, and whether images before their shift are there. like: a measure of the same
    model, whose observer serves this one too, and whose quantities are these if images are shifted in both or in none.
    """

    def __init__(self, model: Model, scope: Scope, wanted: Wanted, like: Specialization | None = None) -> None:
        self.model = model
        self._observer: Observer = like._observer if like else Observer(model)
        self._wanted, self._shifted = wanted, scope.twins
        self._view: View | None = scope.views[0] if len(scope.views[0].places_C) else None
        probe = self._observer.probe
        known = like.means.order if like and like._shifted == self._shifted else head_values.order(self._probe_look())
        self.means: HeadMeans = HeadMeans(model.grid, known, model.device)
        self.placed = Placed(model.grid, probe.layers, model.device)
        self.pairings = Pairings(model.grid, probe, model.device, across=wanted.across)
        self.disagreement = Disagreement(model.grid, model.device)
        self.gradients = GradientOverlap(model) if wanted.gradients and self._view is not None else None
        self.regions = RegionTally(model.grid, probe.layers, wanted, model.device)

    @property
    def listing(self) -> Listing:
        """What is tallied, without the network."""
        places = {head: place for place, head in enumerate(self.model.grid)}
        return Listing(
            grid=self.model.grid, means=tuple(self.means.order), placed=tuple(self.placed.layers),
            groups=tuple(self.pairings.groups), disagreement=tuple(self.disagreement.pairs), ranks=tuple(self._ranks()),
            regions=tuple(RegionRow(places[head], *row) for head, *row in self.regions.entries),
        )  # fmt: skip

    def _ranks(self) -> Iterator[Rank]:
        for metric in ("rank_vo", "rank_qk"):
            for place, head in enumerate(self.model.grid):
                found = self._observer.ranks[head.layer].get(metric)
                if found is not None:
                    yield Rank(place, metric, float(found[place - self.model.grid.first(head.layer)]))

    def add(self, batch: Batch) -> None:
        chunk = chunk_of(self.model, self._observer)
        with torch.inference_mode():
            for start in range(0, batch.size, chunk):
                self._add(batch.part(slice(start, min(start + chunk, batch.size))))

    def results(self) -> dict[str, Counts]:
        """Every tally by name; summaries/specialized says what becomes of them."""
        found = self.means.counts() | self.placed.counts() | self.pairings.counts() | self.regions.counts()
        return found | self.disagreement.counts() | (self.gradients.counts() if self.gradients else {})

    def _add(self, batch: Batch) -> None:
        look = self._look(batch)
        self.means.add(look)
        self.placed.add(look.now.layers, batch.folds_B)
        self.pairings.add(look.now, batch.folds_B)
        if look.given_GBC is not None and self._view is not None:
            _, _, folds_B = self._view.of(look.given_GBC[0], batch)
            self.disagreement.add(self._view.given(look.given_GBC), folds_B)
        if self.gradients is not None:
            self.gradients.add(batch.images_BCHW, batch.folds_B)
        if self.regions.entries:
            on_twin = batch.bare_BCHW if self.regions.by_maps else None
            self.regions.add(look, None if on_twin is None else self._see(on_twin).layers)

    def _look(self, batch: Batch) -> Look:
        shifted = self._shifted and batch.clean_BCHW is not None
        before = self._see(batch.clean_BCHW) if shifted and batch.clean_BCHW is not None else None
        return Look(self.model, batch, self._see(batch.images_BCHW), before, self._wanted.others, self._view)

    def _see(self, images_BCHW: Tensor) -> head_values.Observation:
        return self._observer.see(self.model.preprocess(images_BCHW))

    def _probe_look(self) -> Look:
        """As many images as the probe has, to learn what there is to measure."""
        probe, others = self._observer.probe, self._wanted.others
        images = others.images_MCHW[:1].expand(2, -1, -1, -1)
        none = torch.zeros(2, dtype=torch.int64, device=images.device)
        batch = Batch(images, none, none, none, none[None], 2)
        return Look(self.model, batch, probe, probe if self._shifted else None, others, self._view)


def chunk_of(model: Model, observer: Observer) -> int:
    """Images that are looked at together."""
    weights = max(
        count * layout.queries * layout.keys * layout.windows
        for count, layout in zip(model.grid.per_layer, observer.layouts, strict=True)
    )
    return max(1, CHUNK[model.device.type] // weights)


class HeadMeans:
    """Means over images of every quantity of every head. order: of the tally, by layer all of its heads."""

    def __init__(self, grid: HeadGrid, order: Sequence[tuple[int, Quantity]], device: torch.device) -> None:
        self.order = order
        self._tally = Tally((sum(grid.per_layer[layer] for layer, _ in order),), (*MOMENTS, *NULLS), device)

    def add(self, look: Look) -> None:
        found = {(value.layer, value.quantity): value for value in head_values.values(look)}
        values = torch.cat([found[key].of_BH.T.double() for key in self.order])
        self._tally.add(look.batch.folds_B, moments(values) | self._nulls(found, values))

    def counts(self) -> dict[str, Counts]:
        return {"means": self._tally.counts()}

    def _nulls(self, found: dict[tuple[int, Quantity], head_values.Value], like_EB: Tensor) -> dict[str, Tensor]:
        """The sums over an image's nulls; mostly there are none."""
        sums = {name: torch.zeros_like(like_EB, dtype=torch.int64) for name in NULLS}
        done = 0
        for key in self.order:
            null_SBH = found[key].null_SBH
            count = found[key].of_BH.shape[1]
            if null_SBH is not None:
                parts = moments(null_SBH.transpose(1, 2), NULLS)
                for name, part in parts.items():
                    sums[name][done : done + count] = part.sum(0)
            done += count
        return sums


class Placed:
    """Where heads look from a patch: by layer, of layers whose tokens have places. layers: these, and their queries."""

    def __init__(self, grid: HeadGrid, layers: list[Layer], device: torch.device) -> None:
        placed = [index for index, layer in enumerate(layers) if _has_places(layer.layout)]
        self._layers = placed
        self.layers = [PlacedLayer(index, QUERY.get(layers[index].layout.kind, "patches")) for index in placed]
        self._offset = Tally((sum(grid.per_layer[index] for index in placed),), OFFSET_FIELDS, device)
        sizes = {index: offsets.displacements(layers[index].layout.grid or (1, 1)) for index in placed}
        names = {index: tuple(str(place) for place in range(size)) for index, size in sizes.items()}
        self._strongest = {i: Tally((grid.per_layer[i],), names[i], device) for i in placed}

    def add(self, layers: list[Layer], folds_B: Tensor) -> None:
        moved = []
        for index in self._layers:
            layer = layers[index]
            moved.append(offsets.mean_displacement(layer).transpose(1, 2))
            self._strongest[index].add_rows(folds_B, to_fixed(offsets.strongest(layer)).transpose(0, 1))
            layer.forget()
        if moved:
            down, right = torch.cat(moved, 1).unbind(0)
            ones = torch.ones_like(down, dtype=torch.int64)
            self._offset.add(folds_B, {"n": ones, "down": to_fixed(down), "right": to_fixed(right)})

    def counts(self) -> dict[str, Counts]:
        """offset: [G, FOLDS, fields]; strongest.LAYER: [H, FOLDS, D]."""
        found = {f"strongest.{index}": tally.counts() for index, tally in self._strongest.items()}
        return {"offset": self._offset.counts()} | found


def _has_places(layout: Layout) -> bool:
    return layout.kind in (GLOBAL, WINDOWS) and layout.grid is not None
