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
DRAWS = 12
"""Draws of each baseline, at least: random directions, untrained heads and shuffles of all heads of a layer, of as
many twins as that takes. A head is beyond a baseline where it is beyond what its draws vary by, too."""
NUMBERS = ("excess", "excess_error", "freedom")
FIELDS = ("n", "effective", "dimensions", "accuracy", *CHANCE,
          *(f"{what}_{name}" for name in CHANCE for what in NUMBERS))  # fmt: skip
TOLD_APART = 0.1
"""Cramér's V of two attributes, after weighting, from which on neither is probed without the other."""


class Entry(NamedTuple):
    """A row of the probes table before its numbers."""

    head: Head
    attribute: str
    source: str
    token: str
    values: int


class Baseline(NamedTuple):
    """right_GN: how often an image is answered right, mean over draws; varies_G: the variance of the draws' accuracies;
    draws_G: how many there were."""

    right_GN: np.ndarray
    varies_G: np.ndarray
    draws_G: np.ndarray


def twins_of(model: Model, seed: int) -> list[Model]:
    """As many untrained twins of a model as DRAWS takes, their heads found."""
    count = -(-DRAWS // min(count for count in model.grid.per_layer if count))
    twins = [replace(model, net=building.untrained(model, seed + draw)) for draw in range(count)]
    assert all(len(twin.grid) == len(model.grid) for twin in twins)
    return twins


class Collected(NamedTuple):
    """Of all N images, whatever is asked. outputs: [G, N, W] of the model, then of each twin; logits: [G, N, C] of as
    many, empty where they are not reached directly; received: for each layer [N, D]."""

    outputs: list[Tensor]
    logits: list[Tensor]
    received: list[Tensor]
    halves: Halves
    keys_N: np.ndarray


class Probing:
    """`add` batches of one condition, then read `results`; `entries` are known after that.

    scope: its groups are the attributes, `name=value`. seed: of untrained twins, of random features, of the shuffle;
    twins: of the same model and seed, by `twins_of`.
    """

    def __init__(self, model: Model, scope: Scope, seed: int, twins: list[Model] | None = None) -> None:
        self.model, self._seed = model, seed
        self._names = list(dict.fromkeys(name.partition("=")[0] for name in scope.groups))
        place = {name: index for index, name in enumerate(model.classes)}
        self._outputs = [place.get(name.partition("=")[2], -1) for name in scope.groups]
        view = scope.views[0]
        self._places_C = view.places_C if view.members_SE is None else torch.full_like(view.places_C, -1)
        self._twins = twins or twins_of(model, seed)
        self._draws = len(self._twins)
        self._kept: list[list[Features]] = []
        self._batches: list[tuple[Tensor, ...]] = []
        self.entries: list[Entry] = []
        self.entangled: list[str] = []

    def add(self, batch: Batch) -> None:
        size = batch.size
        images = batch.images_BCHW
        self._kept.append([_cut(features(model, images), size) for model in (self.model, *self._twins)])
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
        everything = self._collected(halves, keys_N)
        rows = [row for attribute in attributes for row in self._of(attribute, attributes, everything)]
        return {"probes": Counts(np.array(rows, np.int64).reshape(-1, 1, len(FIELDS)), FIELDS)}

    def _of(self, attribute: Attribute, all_of_them: list[Attribute], everything: Collected) -> Iterator[list[int]]:
        """The tallies of every head, source by source; none for an attribute that another stands for."""
        halves = everything.halves
        others = [other for other in all_of_them if other is not attribute]
        weights = [probing.balanced(attribute, others, half) for half in (halves.fit_N, ~halves.fit_N)]
        for other in others:
            if max(probing.entangled(attribute, other, part) for part in weights) > TOLD_APART:
                names = " and ".join(sorted((attribute.name, other.name)))
                self.entangled.append(f"{names} cannot be told apart, they go together")
                return
        both, asked = weights[0] + weights[1], weights[1]
        own, *untrained = everything.outputs
        shuffles = [
            _shuffled(attribute, halves, everything.keys_N, hash64(self._seed, "shuffle", attribute.name, draw))
            for draw in range(self._draws)
        ]
        baselines = {
            "control": self._pooled([
                probing.answers(self._random(everything.received, own.shape[-1], draw), attribute, both, halves)
                for draw in range(self._draws)
            ], asked),
            "untrained": self._pooled([probing.answers(part, attribute, both, halves) for part in untrained], asked),
            "shuffled": self._pooled(
                [probing.answers(own, attribute, both, halves, shuffled) for shuffled in shuffles], asked
            ),
        }  # fmt: skip
        self.entries += self._entries(attribute, OUTPUT)
        yield from tallied(probing.answers(own, attribute, both, halves), baselines, asked, own.shape[-1])
        if everything.logits:
            given, *untaught = (probing.given_answers(part, attribute, both, halves) for part in everything.logits)
            even = Baseline(
                np.full(given.shape, 1 / attribute.count), np.zeros(len(given)), np.full(len(given), np.inf)
            )
            self.entries += self._entries(attribute, DIRECT)
            baselines = {"control": even, "untrained": self._pooled(untaught, asked), "shuffled": even}
            yield from tallied(given, baselines, asked, everything.logits[0].shape[-1])

    def _collected(self, halves: Halves, keys_N: np.ndarray) -> Collected:
        places = range(1 + self._draws)
        logits = [part for place in places if (part := self._logits(place)) is not None]
        received = [torch.cat(parts) for parts in zip(*(kept[0].received for kept in self._kept), strict=True)]
        return Collected(
            [self._outputs_of(place, halves) for place in places], logits if len(logits) == len(places) else [],
            received, halves, keys_N,
        )  # fmt: skip

    def _pooled(self, answers_DGN: list[np.ndarray], weights_N: np.ndarray) -> Baseline:
        """Of every head the draws of all heads of its layer."""
        grid = self.model.grid
        parts = []
        for layer, count in enumerate(grid.per_layer):
            if not count:
                continue
            own = slice(grid.first(layer), grid.first(layer) + count)
            draws_DN = np.concatenate([drawn[own] for drawn in answers_DGN]).astype(float)
            varies = (draws_DN @ weights_N / weights_N.sum()).var(ddof=1) if len(draws_DN) > 1 else 0.0
            parts += [(draws_DN.mean(0), varies, len(draws_DN))] * count
        right, varies, draws = (np.stack(part) for part in zip(*parts, strict=True))
        return Baseline(right, varies, draws.astype(float))

    def _entries(self, attribute: Attribute, source: str) -> Iterator[Entry]:
        for head in self.model.grid:
            token = self._kept[0][0].tokens[head.layer] if source == OUTPUT else "logits"
            yield Entry(head, attribute.name, source, token, attribute.count)

    def _outputs_of(self, place: int, halves: Halves) -> Tensor:
        """[G, N, W] of the heads' outputs; place: 0 of the model, from 1 on of its untrained twins."""
        parts = [kept[place].heads for kept in self._kept]
        layers = [torch.cat([part[layer] for part in parts]) for layer in range(len(parts[0]))]
        width = min(values.shape[-1] for values in layers)
        fit_N = torch.from_numpy(halves.fit_N)
        return torch.stack([
            probing.principal(values[:, head], fit_N, width) for values in layers for head in range(values.shape[1])
        ])  # fmt: skip

    def _logits(self, place: int) -> Tensor | None:
        """[G, N, C]: what heads give the logits; None where they are not reached directly."""
        parts = [kept[place].direct_BGC for kept in self._kept]
        known = [part for part in parts if part is not None]
        return torch.cat(known).transpose(0, 1) if len(known) == len(parts) else None

    def _random(self, received: list[Tensor], width: int, draw: int) -> Tensor:
        """[G, N, W]: as many random directions of what each head's block received."""
        found = []
        for layer, count in enumerate(self.model.grid.per_layer):
            for head in range(count):
                generator = torch.Generator().manual_seed(hash64(self._seed, "random", layer, head, draw) >> 1)
                directions = torch.randn(received[layer].shape[-1], width, generator=generator)
                found.append(received[layer] @ directions.to(received[layer].device))
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


def tallied(
    own_GN: np.ndarray, baselines: dict[str, Baseline], weights_N: np.ndarray, dimensions: int
) -> Iterator[list[int]]:  # fmt: skip
    """A row of FIELDS a head: accuracy, and by baseline what is beyond it, with the error of images and of draws
    together and the degrees of freedom that they have (Welch and Satterthwaite)."""
    effective = probing.effective(weights_N)
    columns = [np.full(len(own_GN), effective), np.full(len(own_GN), float(dimensions))]
    columns += [part @ weights_N / weights_N.sum() for part in (own_GN, *(baselines[name].right_GN for name in CHANCE))]
    for name in CHANCE:
        baseline = baselines[name]
        excess, error = probing.difference(own_GN, baseline.right_GN, weights_N)
        drawn = baseline.varies_G * (1 + 1 / baseline.draws_G)
        freedom = (error**2 + drawn) ** 2 / (
            error**4 / max(effective - 1, 1) + drawn**2 / np.maximum(baseline.draws_G - 1, 1)
        )
        columns += [excess, np.sqrt(error**2 + drawn), freedom]
    fixed = np.rint(np.stack(columns, 1) * SCALE).astype(np.int64)
    n = int((weights_N > 0).sum())
    return ([n, *row] for row in fixed.tolist())
