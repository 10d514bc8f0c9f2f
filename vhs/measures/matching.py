"""Do two models have the same heads? Similarity of every head of one with every head of the other, on the same images.

Similarity is 1 - JSD / ln 2 of two maps, mean over queries: 1 for equal maps, 0 for maps without a key in common.
Beside it that of the one's map of an image with the other's map of another image.

Letters: B images, R images times windows, H heads of one layer, I of the other model's, Q queries, K keys, J pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.measures.layer import Layer, surprise
from vhs.measures.observation import Observer
from vhs.measures.scoring import MOMENTS, Tally, moments
from vhs.measures.specialization import chunk_of
from vhs.models.model import Model

LN2 = 0.6931471805599453
FIELDS = (*MOMENTS, "n_across", "across", "across_sq")


class Block(NamedTuple):
    """Two layers whose heads are compared, and where their pairs begin in the tally: by head, then by other head."""

    layer: int
    other: int
    first: int


class Matching:
    """`add` batches of one condition, then read `results`.

    Layers of equal depth are compared with each other; where the models have not equally many, every layer with every.
    Raises MismatchError for models whose maps are of other tokens.
    """

    def __init__(self, model: Model, other: Model) -> None:
        self.model, self.other = model, other
        self._observers = Observer(model), Observer(other)
        layouts = [observer.layouts for observer in self._observers]
        same = model.grid.depth == other.grid.depth
        places = [(a, b) for a in range(model.grid.depth) for b in range(other.grid.depth) if a == b or not same]
        self.blocks, done = [], 0
        for a, b in places:
            if layouts[0][a] != layouts[1][b]:
                raise MismatchError(
                    f"{other.name}: layer {b} attends between other tokens ({_words(layouts[1][b])}) than layer {a} of "
                    f"{model.name} ({_words(layouts[0][a])}). Match models of one image size, patch size and tokens."
                )
            self.blocks.append(Block(a, b, done))
            done += model.grid.per_layer[a] * other.grid.per_layer[b]
        self._tally = Tally((done,), FIELDS, model.device)

    def add(self, batch: Batch) -> None:
        chunk = max(2, min(chunk_of(model, seen) for model, seen in zip(self._models, self._observers, strict=True)))
        starts = list(range(0, batch.size, chunk))
        if len(starts) > 1 and batch.size - starts[-1] == 1:
            starts.pop()  # an image alone has no other beside it
        with torch.inference_mode():
            for start, stop in zip(starts, [*starts[1:], batch.size], strict=True):
                self._add(batch.part(slice(start, stop)))

    def results(self) -> dict[str, Counts]:
        """pairs: int64 [J, FOLDS, FIELDS]; similarities in 2^-24."""
        return {"pairs": self._tally.counts()}

    @property
    def _models(self) -> tuple[Model, Model]:
        return self.model, self.other

    def _add(self, batch: Batch) -> None:
        ours, theirs = (
            seen.see(model.preprocess(batch.images_BCHW)).layers
            for model, seen in zip(self._models, self._observers, strict=True)
        )
        for layer, other, first in self.blocks:
            a, b = ours[layer], theirs[other]
            same_JB = _similarities(a, b.weights_RHQK)
            moved = b.weights_RHQK.unflatten(0, (batch.size, -1)).roll(1, 0).flatten(0, 1)
            across_JB = _similarities(a, moved) if batch.size > 1 else torch.full_like(same_JB, torch.nan)
            values = moments(same_JB) | moments(across_JB, ("n_across", "across", "across_sq"))
            self._tally.add(batch.folds_B, values, unit=slice(first, first + len(same_JB)))


def _similarities(layer: Layer, other_RIQK: Tensor) -> Tensor:
    """[H * I, B]: of every head of a layer with every one of the other map."""
    found = []
    entropy_RIQ = -surprise(other_RIQK).sum(-1)
    for head in range(layer.weights_RHQK.shape[1]):
        own = layer.weights_RHQK[:, head : head + 1]
        mixed_RIQ = -surprise((own + other_RIQK) / 2).sum(-1)
        jsd_RI = (mixed_RIQ - (layer.entropy_RHQ[:, head : head + 1] + entropy_RIQ) / 2).mean(-1)
        found.append(1 - layer.by_image(jsd_RI.clamp(0, LN2)) / LN2)
    return torch.cat(found, 1).T


def _words(layout) -> str:  # type: ignore[no-untyped-def]
    grid = "" if layout.grid is None else f", grid {layout.grid[0]}x{layout.grid[1]}"
    return f"{layout.kind}, {layout.queries} queries, {layout.keys} keys{grid}"
