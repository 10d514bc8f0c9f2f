"""Every measure of a head that is a mean over images: of its map, of what it writes, of what it follows.

`values` yields them layer by layer; what a model or its layers lack (a class token, places, a linear projection) is
simply not yielded, so a network tells by one pass what can be measured of it.

Letters: B images, H heads, P patches, C classes, S shifts, M other images, G heads of the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.measures import attention, features
from vhs.measures.direct import direct_logits, scores_of
from vhs.measures.divergence import divergence
from vhs.measures.layer import Layer, Weighted
from vhs.measures.listing import Quantity
from vhs.measures.observation import Observation
from vhs.measures.scoring import View
from vhs.models import circuits
from vhs.models.model import Model
from vhs.models.tokens import GLOBAL, POOLING

MIXING = 0x9E3779B97F4A7C15 - (1 << 64)
"""Spreads a sample's key over the shifts of its features (the golden ratio in 64 bits)."""


class Value(NamedTuple):
    """A quantity of a layer's heads. of_BH: NaN where an image has none; null_SBH: what it would be by chance."""

    layer: int
    quantity: Quantity
    of_BH: Tensor
    null_SBH: Tensor | None = None


@dataclass(frozen=True)
class Others:
    """The images whose features stand for "any image". images: uint8; keys: of their samples; regions: label maps."""

    images_MCHW: Tensor
    keys_M: Tensor
    regions_MHW: Tensor | None = None
    _features: dict[tuple[int, int], Tensor] = field(default_factory=dict, compare=False, repr=False)

    def features(self, grid: tuple[int, int]) -> Tensor:
        """Their features on a grid, made once."""
        if grid not in self._features:
            self._features[grid] = features.of_images(self.images_MCHW, grid)
        return self._features[grid]

    def same(self, batch: Batch) -> Tensor:
        """bool [B, M]: whether an image is one of these."""
        return batch.keys_B[:, None] == self.keys_M


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """others: images that stand for any; across: whether pairs of heads span layers; regions: names of the values of
    region maps, if these are measured; activity: levels of activity that are regions instead, 0 for none; gradients:
    whether directions of heads' inputs are compared."""

    others: Others
    across: bool = True
    regions: tuple[str, ...] = ()
    activity: int = 0
    gradients: bool = False


@dataclass(frozen=True)
class Look:
    """A model on some images. before: the same images without their shift, None where they are not known or have none;
    view: whose classes are answered, None without classes."""

    model: Model
    batch: Batch
    now: Observation
    before: Observation | None
    others: Others
    view: View | None

    @cached_property
    def given_GBC(self) -> Tensor | None:
        """What each head gives the logits directly; None where that is not known, or there are no classes."""
        seen = self.now
        return None if self.view is None else direct_logits(self.model, seen.heads, seen.residual_BND, partly=True)

    @cached_property
    def direct_GB(self) -> Tensor | None:
        """Of that what is the true class's."""
        if self.view is None or self.given_GBC is None:
            return None
        return scores_of(self.given_GBC, self.view, self.batch)


def values(look: Look) -> Iterator[Value]:
    """Every quantity of every layer."""
    followed = _followed(look)
    for index, layer in enumerate(look.now.layers):
        for quantity, value_BH in attention.quantities(layer):
            yield Value(index, quantity, value_BH)
        yield from _written(index, layer)
        yield from _direct(index, look)
        yield from followed.get(index, ())
        if look.before is not None:
            yield from _kept(index, layer, look.before.layers[index])
        layer.forget()


def order(look: Look) -> list[tuple[int, Quantity]]:
    """(layer, quantity) of all that `values` yields, the layers of a quantity together."""
    with torch.inference_mode():
        found = dict.fromkeys((value.layer, value.quantity) for value in values(look))
    quantities = dict.fromkeys(quantity for _, quantity in found)
    layers = range(len(look.now.layers))
    return [(layer, quantity) for quantity in quantities for layer in layers if (layer, quantity) in found]


def _written(index: int, layer: Layer) -> Iterator[Value]:
    """Of what a head writes: its norm, a token's mean; and its effective rank over an image's tokens."""
    written = layer.written_BTHW
    if written is None:
        return
    yield Value(index, Quantity("output_norm", _tokens(layer)), written.square().sum(-1).sqrt().mean(1))
    if layer.layout.kind != POOLING:
        by_head = written.transpose(1, 2).double()
        yield Value(index, Quantity("output_rank", _tokens(layer)), circuits.effective_rank(by_head.mT @ by_head))


def _tokens(layer: Layer) -> str:
    return "pooling" if layer.layout.kind == POOLING else "all"


def _direct(index: int, look: Look) -> Iterator[Value]:
    """What a head gives the true class's logit directly, centred over classes (the score of `--method direct`)."""
    if look.direct_GB is not None:
        first, count = look.model.grid.first(index), look.model.grid.per_layer[index]
        yield Value(index, Quantity("direct", "none", "logits"), look.direct_GB[first : first + count].T)


def _kept(index: int, layer: Layer, before: Layer) -> Iterator[Value]:
    """What a shift changes of a head: its map, as a divergence; its outputs, as a cosine."""
    query = attention.QUERY.get(layer.layout.kind, "all")
    apart = divergence(layer.weights_RHQK, before.weights_RHQK)
    yield Value(index, Quantity("stability_jsd", query, "nats"), layer.by_image(apart))
    if layer.written_BTHW is not None and before.written_BTHW is not None:
        cosine = torch.cosine_similarity(layer.written_BTHW, before.written_BTHW, dim=-1).mean(1)
        yield Value(index, Quantity("stability_cosine", _tokens(layer)), cosine)


def _followed(look: Look) -> dict[int, list[Value]]:
    """By layer what its heads follow in these images; all layers of one grid at once."""
    by_grid: dict[tuple[int, int], list[tuple[int, str, Layer | Weighted]]] = {}
    for index, layer in enumerate(look.now.layers):
        grid = layer.layout.grid
        if layer.layout.kind == GLOBAL and grid is not None and min(grid) > 1:
            forms = by_grid.setdefault(grid, [])
            forms.append((index, "attention", layer))
            if layer.weighted is not None:
                forms.append((index, "value", layer.weighted))
    found: dict[int, list[Value]] = {}
    for grid, forms in by_grid.items():
        looks = torch.cat([form.seen_BHP for _, _, form in forms], 1)
        same, shifts = look.others.same(look.batch), shifts_of(look.batch.keys_B, grid)
        own, others = features.of_images(look.batch.images_BCHW, grid), look.others.features(grid)
        made = features.followed(looks, own, others, same, shifts, grid)
        done = 0
        for index, weighting, form in forms:
            heads = slice(done, done + form.seen_BHP.shape[1])
            done = heads.stop
            for place, name in enumerate(features.NAMES):
                quantity = Quantity("follows", look.now.layers[index].looker, "1", name, weighting)
                value = Value(index, quantity, made.value_BHF[:, heads, place], made.null_SBHF[:, :, heads, place])
                found.setdefault(index, []).append(value)
    return found


def shifts_of(keys_B: Tensor, grid: tuple[int, int]) -> Tensor:
    """int64 [B, SHIFTS, 2]: by how many rows and columns each image's features are moved, never by none."""
    rows, columns = grid
    numbers = torch.arange(1, features.SHIFTS + 1, device=keys_B.device)
    mixed = (keys_B[:, None] ^ numbers) * MIXING
    place = ((mixed >> 33) & 0x3FFFFFFF) % (rows * columns - 1) + 1
    return torch.stack([place // columns, place % columns], -1)
