"""Probes of every head of one model under one condition: features are collected, then fitted and answered.

Letters: N images, G heads, W features, D width, C classes, E entries (heads by attribute and source).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import SCALE, Counts
from vhs.errors import MismatchError
from vhs.grid import Head
from vhs.measures import probing
from vhs.measures.head_features import Features, features
from vhs.measures.probing import Attribute, Halves
from vhs.measures.scoring import Scope
from vhs.models import building
from vhs.models.model import Model
from vhs.seeds import FOLDS, hash64

LABEL = "label"
OUTPUT, DIRECT = "output", "direct"
CHANCE = ("control", "untrained", "shuffled")
"""What a probe is held against: random features of the block's input, the untrained twin, shuffled values. What a head
gives the logits, which is not fitted, against chance, the untrained twin, and chance again."""
FIELDS = ("n", "effective", "dimensions", "accuracy", "error", *CHANCE,
          *(f"{what}_{name}" for name in CHANCE for what in ("excess", "excess_error")))  # fmt: skip
TOLD_APART = 0.1
"""Cramér's V of two attributes, after weighting, from which on neither is probed without the other."""


class Entry(NamedTuple):
    """A row of the probes table before its numbers."""

    head: Head
    attribute: str
    source: str
    token: str
    values: int


class Probing:
    """`add` batches of one condition, then read `results`; `entries` are known after that.

    scope: its groups are the attributes, `name=value`. seed: of the untrained twin, of random features, of the shuffle.
    """

    def __init__(self, model: Model, scope: Scope, seed: int) -> None:
        self.model, self._seed = model, seed
        self._names = list(dict.fromkeys(name.partition("=")[0] for name in scope.groups))
        place = {name: index for index, name in enumerate(model.classes)}
        self._outputs = [place.get(name.partition("=")[2], -1) for name in scope.groups]
        self._places_C = scope.views[0].places_C
        self._twin = replace(model, net=building.untrained(model, seed))
        self._kept: list[tuple[Features, Features]] = []
        self._batches: list[tuple[Tensor, ...]] = []
        self.entries: list[Entry] = []
        self.entangled: list[str] = []

    def add(self, batch: Batch) -> None:
        size = batch.size
        images = batch.images_BCHW
        self._kept.append((_cut(features(self.model, images), size), _cut(features(self._twin, images), size)))
        told = (batch.groups_AB.T, batch.labels_B, batch.folds_B, batch.keys_B)
        self._batches.append(tuple(part[:size] for part in told))

    def results(self) -> dict[str, Counts]:
        """probes: int64 [E, 1, FIELDS]; `n` as it is, all else in 2^-24."""
        groups_NA, labels_N, folds_N, keys_N = (
            torch.cat(part).cpu().numpy() for part in zip(*self._batches, strict=True)
        )
        halves = Halves.of(folds_N, FOLDS)
        columns: dict[str, probing.Column] = {
            name: (groups_NA[:, index], self._outputs) for index, name in enumerate(self._names)
        }
        columns[LABEL] = labels_N, self._places_C.tolist()
        found = probing.attributes(columns, halves)
        named = [attribute for attribute in found if attribute.name != LABEL]
        attributes = named + [
            label for label in found if label.name == LABEL and not any(probing.same(label, other) for other in named)
        ]
        if not attributes:
            raise MismatchError(
                f"--probe: no attribute has two values with {probing.FEWEST} images in each half; there are "
                f"{', '.join(columns)} of {len(labels_N)} images. Take more images, or data with attributes."
            )
        rows = [row for attribute in attributes for row in self._of(attribute, attributes, halves, keys_N)]
        return {"probes": Counts(np.array(rows, np.int64).reshape(-1, 1, len(FIELDS)), FIELDS)}

    def _of(
        self, attribute: Attribute, all_of_them: list[Attribute], halves: Halves, keys_N: np.ndarray
    ) -> Iterator[list[int]]:
        """The tallies of every head, source by source; none for an attribute that another stands for."""
        others = [other for other in all_of_them if other is not attribute]
        weights = [probing.balanced(attribute, others, half) for half in (halves.fit_N, ~halves.fit_N)]
        for other in others:
            if max(probing.entangled(attribute, other, part) for part in weights) > TOLD_APART:
                names = " and ".join(sorted((attribute.name, other.name)))
                self.entangled.append(f"{names} cannot be told apart, they go together")
                return
        both, asked = weights[0] + weights[1], weights[1]
        shuffled = _shuffled(attribute, halves, keys_N, hash64(self._seed, "shuffle", attribute.name))
        own, untrained = (self._outputs_of(place, halves) for place in (0, 1))
        right = {
            "own": probing.answers(own, attribute, both, halves),
            "control": probing.answers(self._random(own.shape[-1]), attribute, both, halves),
            "untrained": probing.answers(untrained, attribute, both, halves),
            "shuffled": probing.answers(own, attribute, both, halves, shuffled),
        }
        self.entries += self._entries(attribute, OUTPUT)
        yield from _tallied(right, asked, own.shape[-1])
        logits = [self._logits(place) for place in (0, 1)]
        if logits[0] is not None and logits[1] is not None:
            given = [probing.given_answers(part, attribute, both, halves) for part in logits if part is not None]
            even = np.full_like(given[0], 1 / attribute.count, dtype=float)
            self.entries += self._entries(attribute, DIRECT)
            right = {"own": given[0], "control": even, "untrained": given[1], "shuffled": even}
            yield from _tallied(right, asked, logits[0].shape[-1])

    def _entries(self, attribute: Attribute, source: str) -> Iterator[Entry]:
        for head in self.model.grid:
            token = self._kept[0][0].tokens[head.layer] if source == OUTPUT else "logits"
            yield Entry(head, attribute.name, source, token, attribute.count)

    def _outputs_of(self, place: int, halves: Halves) -> Tensor:
        """[G, N, W] of the heads' outputs; place: 0 of the model, 1 of its untrained twin."""
        parts = [pair[place].heads for pair in self._kept]
        layers = [torch.cat([part[layer] for part in parts]) for layer in range(len(parts[0]))]
        width = min(values.shape[-1] for values in layers)
        fit_N = torch.from_numpy(halves.fit_N)
        return torch.stack([
            probing.principal(values[:, head], fit_N, width) for values in layers for head in range(values.shape[1])
        ])  # fmt: skip

    def _logits(self, place: int) -> Tensor | None:
        """[G, N, C]: what heads give the logits; None where they are not reached directly."""
        parts = [pair[place].direct_BGC for pair in self._kept]
        known = [part for part in parts if part is not None]
        return torch.cat(known).transpose(0, 1) if len(known) == len(parts) else None

    def _random(self, width: int) -> Tensor:
        """[G, N, W]: as many random directions of what each head's block received."""
        found = []
        for layer, count in enumerate(self.model.grid.per_layer):
            received = torch.cat([batch.received[layer] for batch, _ in self._kept])
            for head in range(count):
                generator = torch.Generator().manual_seed(hash64(self._seed, "random", layer, head) >> 1)
                directions = torch.randn(received.shape[-1], width, generator=generator).to(received.device)
                found.append(received @ directions)
        return torch.stack(found)


def _cut(found: Features, size: int) -> Features:
    """The features of the real samples of a tile."""
    received = [part[:size] for part in found.received]
    direct = None if found.direct_BGC is None else found.direct_BGC[:size]
    return Features([part[:size] for part in found.heads], received, direct, found.tokens)


def _shuffled(attribute: Attribute, halves: Halves, keys_N: np.ndarray, seed: int) -> np.ndarray:
    """The attribute's values, of the fitting half in a drawn order that belongs to the samples."""
    values = attribute.values_N.copy()
    use = np.flatnonzero(halves.fit_N & (values >= 0))
    mixed = np.array([hash64(seed, int(key)) for key in keys_N[use]], np.uint64)
    values[use[np.argsort(keys_N[use], kind="stable")]] = values[use[np.argsort(mixed, kind="stable")]]
    return values


def _tallied(right: dict[str, np.ndarray], weights_N: np.ndarray, dimensions: int) -> Iterator[list[int]]:
    own = right["own"]
    accuracy, error = probing.mean_of(own, weights_N)
    columns = [np.full(len(own), probing.effective(weights_N)), np.full(len(own), float(dimensions)), accuracy, error]
    columns += [probing.mean_of(right[name], weights_N)[0] for name in CHANCE]
    for name in CHANCE:
        columns += probing.difference(own, right[name], weights_N)
    fixed = np.rint(np.stack(columns, 1) * SCALE).astype(np.int64)
    n = int((weights_N > 0).sum())
    return ([n, *row] for row in fixed.tolist())
