"""Tallies of head metrics and head-pair divergences of one model under one condition.

Letters: B samples, G heads of the model, N tokens, K metrics, J pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.measures import attention, divergence
from vhs.measures.map_source import MapSource, source_of
from vhs.measures.scoring import Tally
from vhs.models.model import Model

FIELDS = ("n", "value", "value_sq")
CHUNK_ELEMENTS = 1 << 23
"""Maps are computed for about this many weights at a time (32 MiB of float32)."""


class Specialization:
    """`add` batches of one condition, then read `results`.

    across: whether pairs span layers; otherwise only heads of one layer are compared. source: of the model's maps, if
    it is known already.
    """

    def __init__(self, model: Model, *, across: bool, source: MapSource | None = None) -> None:
        self.model = model
        self._source = source or source_of(model)
        grid, has_class = model.grid, self._source.has_class_token
        self.metrics = [metric for metric in attention.METRICS if has_class or not metric.of_class_token]
        groups = [
            list(range(grid.first(layer), grid.first(layer) + count)) for layer, count in enumerate(grid.per_layer)
        ]
        self.pairs = divergence.pairs([list(range(len(grid)))] if across else groups)
        self._distances = attention.patch_distances(self._source.grid, self._source.patch, model.device)
        self._heads = Tally((len(self.metrics), len(grid)), FIELDS, model.device)
        self._pairs = Tally((sum(len(others) for _, others in self.pairs),), FIELDS, model.device)

    def add(self, batch: Batch) -> None:
        tokens = self._distances.shape[0] + self._source.special
        chunk = max(1, CHUNK_ELEMENTS // (len(self.model.grid) * tokens**2))
        with torch.inference_mode():
            pixels = self.model.preprocess(batch.images_BCHW)
            for start in range(0, batch.size, chunk):
                part = slice(start, min(start + chunk, batch.size))
                self._add_maps(self._source.read(pixels[part]), batch.folds_B[part])

    def results(self) -> dict[str, Counts]:
        """heads: int64 [K, G, FOLDS, FIELDS], value in 2^-24 of the metric's unit.
        pairs: int64 [J, FOLDS, FIELDS] in the order of `pair_heads`, value in 2^-24 nats."""
        return {"heads": self._heads.counts(), "pairs": self._pairs.counts()}

    def _add_maps(self, maps_GBNN: Tensor, folds_B: Tensor) -> None:
        maps = attention.Maps(maps_GBNN.transpose(0, 1), self._distances)
        values = [metric.of(maps) for metric in self.metrics]
        self._heads.add(folds_B, _moments(torch.stack(values).transpose(1, 2)))
        done = 0
        for first, others in self.pairs:
            jsd_JB = divergence.pair_divergences(maps_GBNN, first, others)
            self._pairs.add(folds_B, _moments(jsd_JB), unit=slice(done, done + len(others)))
            done += len(others)

    def pair_heads(self) -> Iterator[tuple[int, int]]:
        """Grid positions (a, b) of each pair, in the order of the tallies."""
        return ((first, other) for first, others in self.pairs for other in others)


def _moments(values: Tensor) -> dict[str, Tensor]:
    return {
        "n": torch.ones_like(values, dtype=torch.int64),
        "value": to_fixed(values),
        "value_sq": to_fixed(values.double() ** 2),
    }
