"""Do two models have the same heads? Similarity of every head of one with every head of the other, on the same images.

Similarity is 1 - JSD / ln 2 of two maps, mean over queries: 1 for equal maps, 0 for maps without a key in common.
Beside it that of the one's map of an image with the other's map of another image, and the divergence itself where both
models answer an image right, either of them, or neither. Maps of unequal grids are compared on the first model's: the
other's are resampled to it, and only tokens that both have are compared.

Letters: B images, R images times windows, H heads of one layer, I of the other model's, Q queries, K keys, J pairs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.measures.cells import CELLS
from vhs.measures.layer import Layer, surprise
from vhs.measures.listing import Facing, Matchings
from vhs.measures.observation import Observation, Observer
from vhs.measures.scoring import MOMENTS, Scope, Tally, moments, outcome
from vhs.measures.specialization import chunk_of
from vhs.models.model import Model
from vhs.models.shared_tokens import SharedTokens, in_words
from vhs.seeds import FOLDS

LN2 = 0.6931471805599453
FIELDS = (*MOMENTS, "n_across", "across", "across_sq")


class Block(NamedTuple):
    """Two layers whose heads are compared, and where their pairs begin in the tally: by head, then by other head.
    shared: the tokens that are compared."""

    layer: int
    other: int
    first: int
    shared: SharedTokens


class Matching:
    """`add` batches of one condition, then read `results`.

    Layers of equal depth are compared with each other; where the models have not equally many, every layer with every.
    scope: whose classes are answered; None, and that of targets, counts no answers. Raises MismatchError for models
    whose maps cannot be compared.
    """

    def __init__(self, model: Model, other: Model, scope: Scope | None = None) -> None:
        self.model, self.other = model, other
        self._view = scope.views[0] if scope is not None and len(scope.views[0].places_C) else None
        self._observers = Observer(model), Observer(other)
        layouts = [observer.layouts for observer in self._observers]
        same = model.grid.depth == other.grid.depth
        places = [(a, b) for a in range(model.grid.depth) for b in range(other.grid.depth) if a == b or not same]
        self.blocks, done = [], 0
        for a, b in places:
            if not (model.grid.per_layer[a] and other.grid.per_layer[b]):
                continue
            shared = SharedTokens(layouts[0][a], layouts[1][b])
            if shared.refusal() is not None:
                raise MismatchError(
                    f"{other.name}: layer {b} attends between other tokens ({in_words(shared.other)}) than layer {a} "
                    f"of {model.name} ({in_words(shared.own)}). Match models of whole images, or of equal windows."
                )
            self.blocks.append(Block(a, b, done, shared))
            done += model.grid.per_layer[a] * other.grid.per_layer[b]
        self._tally = Tally((done,), FIELDS, model.device)
        self._cells = Tally((len(CELLS), done), MOMENTS, model.device)

    def add(self, batch: Batch) -> None:
        chunk = max(2, min(chunk_of(model, seen) for model, seen in zip(self._models, self._observers, strict=True)))
        starts = list(range(0, batch.size, chunk))
        if len(starts) > 1 and batch.size - starts[-1] == 1:
            starts.pop()  # an image alone has no other beside it
        with torch.inference_mode():
            for start, stop in zip(starts, [*starts[1:], batch.size], strict=True):
                self._add(batch.part(slice(start, stop)))

    @property
    def listing(self) -> Matchings:
        """What is tallied, without the networks."""
        return Matchings(self.model.grid, self.other.grid, tuple(Facing(*block[:3]) for block in self.blocks))

    def results(self) -> dict[str, Counts]:
        """pairs: int64 [J, FOLDS, FIELDS], similarities in 2^-24; cells: [CELLS, J, FOLDS, MOMENTS] of divergences."""
        return {"pairs": self._tally.counts(), "cells": self._cells.counts()}

    @property
    def _models(self) -> tuple[Model, Model]:
        return self.model, self.other

    def _add(self, batch: Batch) -> None:
        ours, theirs = (
            seen.see(model.preprocess(batch.images_BCHW))
            for model, seen in zip(self._models, self._observers, strict=True)
        )
        cells_CB = self._answers(ours, theirs, batch)
        for layer, other, first, shared in self.blocks:
            a = ours.layers[layer] if shared.whole else _among(ours.layers[layer], shared)
            b_RIQK = shared.map_of_other(theirs.layers[other].weights_RHQK)
            same_JB = _similarities(a, b_RIQK)
            moved = b_RIQK.unflatten(0, (batch.size, -1)).roll(1, 0).flatten(0, 1)
            across_JB = _similarities(a, moved) if batch.size > 1 else torch.full_like(same_JB, torch.nan)
            values = moments(same_JB) | moments(across_JB, ("n_across", "across", "across_sq"))
            unit = slice(first, first + len(same_JB))
            self._tally.add(batch.folds_B, values, unit=unit)
            if cells_CB is not None:
                apart_CJB = torch.where(cells_CB[:, None], (1 - same_JB) * LN2, torch.nan)
                self._cells.add(batch.folds_B, moments(apart_CJB), unit=(slice(None), unit))

    def _answers(self, ours: Observation, theirs: Observation, batch: Batch) -> Tensor | None:
        """bool [CELLS, B]: who answers each image right; no cell for what is not counted, None where nothing is."""
        if self._view is None:
            return None
        right = []
        for seen in (ours, theirs):
            logits, labels, folds_B = self._view.of(seen.logits_BC, batch)
            right.append(outcome(logits, labels).correct)
        cell_B = torch.where(folds_B == FOLDS, -1, right[0] + 2 * right[1])
        return cell_B == torch.arange(len(CELLS), device=cell_B.device)[:, None]


def _among(layer: Layer, shared: SharedTokens) -> Layer:
    """The layer's maps among shared tokens, rows summing to 1."""
    kept = shared.of_own(layer.weights_RHQK)
    return replace(layer, weights_RHQK=kept / kept.sum(-1, keepdim=True).clamp(min=1e-12))


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
