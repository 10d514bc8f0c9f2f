"""How a head spreads its attention: distances, entropies, masses, how much the query matters.

Every measure is one row of METRICS. Attention weight is not contribution: those that say what a head looks at are also
taken of weights times the norm of what they carry (`Layer.weighted`). See docs/methods.md.

Letters: R images times windows, H heads, Q queries, K keys, P patches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from torch import Tensor

from vhs.measures.layer import SINKS, Layer, Weighted, surprise
from vhs.measures.listing import Quantity
from vhs.models.tokens import CLASS, GLOBAL, POOLED_KEYS, POOLING, REGISTER, WINDOWS

ANYWHERE = (GLOBAL, WINDOWS, POOLED_KEYS, POOLING)
PLACED = (GLOBAL, WINDOWS)
"""Layouts whose queries and keys are the same tokens, with places in the image."""
QUERY = {WINDOWS: "windows", POOLING: "pooling"}
"""What queries are called where they are not all of the image's."""
SMOOTHING = 1e-8
"""Added to weights before the NMI, as in the code of Park et al."""


class Metric(NamedTuple):
    """A measure of a head's map. query: which queries it averages over, where these are not windows or pooling;
    layouts: which maps it is of; of: Layer, and Weighted if of_values, -> float32 [R, H]; needs: the kind of
    token that it is about; of_values: whether it is also taken of value-weighted attention."""

    name: str
    query: str
    unit: str
    layouts: tuple[str, ...]
    of: Callable[[Any], Tensor]
    needs: str | None = None
    of_values: bool = False

    def takes(self, layer: Layer) -> bool:
        """Whether a layer has what it is of."""
        layout = layer.layout
        placed = layout.grid is not None or self.layouts == ANYWHERE
        return layout.kind in self.layouts and placed and (self.needs is None or self.needs in layer.kinds)


def quantities(layer: Layer) -> Iterator[tuple[Quantity, Tensor]]:
    """Every measure that the layer's layout allows, float32 [B, H] each."""
    for metric in METRICS:
        if metric.takes(layer):
            query = QUERY.get(layer.layout.kind, metric.query)
            for weighting, maps in (("attention", layer), ("value", layer.weighted if metric.of_values else None)):
                if maps is not None:
                    named = Quantity(metric.name, query, metric.unit, None, weighting)
                    yield named, layer.by_image(metric.of(maps))


def row_entropy(maps: Tensor) -> Tensor:
    """Entropy in nats of each row (last axis), in [0, ln N]; 0 ln 0 is 0."""
    return -surprise(maps).sum(-1)


def uniform_distance(layer: Layer) -> Tensor:
    """[]: the distance of attention that is the same everywhere, px; 116.49 for 14 x 14 patches of 16 px."""
    return layer.distances_PP.mean()


def _distance(layer: Layer) -> Tensor:
    """Mean over patch queries, not renormalised (Raghu et al. 2021, arXiv:2108.08810, in Dosovitskiy's form)."""
    return layer.distance_RHP.mean(-1)


def _distance_patch(layer: Layer | Weighted) -> Tensor:
    """The same, renormalised over patches."""
    return (layer.distance_RHP / layer.kept_RHP).mean(-1)


def _distance_ratio(layer: Layer) -> Tensor:
    """The same, in units of what uniform attention has."""
    return _distance_patch(layer) / uniform_distance(layer).clamp(min=1e-12)


def _entropy(layer: Layer) -> Tensor:
    return layer.entropy_RHQ.mean(-1)


def _entropy_normalised(layer: Layer) -> Tensor:
    """In units of ln(keys)."""
    return _entropy(layer) / math.log(max(layer.layout.keys, 2))


def _entropy_patch(layer: Layer) -> Tensor:
    """Of patch queries over patches alone, renormalised."""
    return layer.entropy_among_RHP.mean(-1)


def _entropy_patch_normalised(layer: Layer) -> Tensor:
    return _entropy_patch(layer) / math.log(max(layer.distances_PP.shape[0], 2))


def _position_deviation(layer: Layer) -> Tensor:
    """How much the query matters: deviation over queries, mean over keys (Walmer et al. 2023, arXiv:2212.03862)."""
    apart = layer.among_patches - layer.among_patches.mean(-2, keepdim=True)
    return apart.square_().mean(-2).sqrt().mean(-1)


def _nmi(layer: Layer) -> Tensor:
    """Mutual information of query and key over sqrt(H(q) H(k)), queries uniform (Park et al. 2023, arXiv:2305.00729).

    In [0, 1]; 0 where all queries attend alike.
    """
    smooth = layer.to_patches + SMOOTHING
    smooth /= smooth.sum(-1, keepdim=True)
    of_keys = row_entropy(smooth.mean(-2))
    of_queries = math.log(max(smooth.shape[-1], 2))
    return (of_keys - row_entropy(smooth).mean(-1)) / (of_queries * of_keys).clamp(min=1e-12).sqrt()


def _mass_on(token: str) -> Callable[[Layer], Tensor]:
    """Attention of patch queries on the tokens of a name before the patches."""

    def mass(layer: Layer | Weighted) -> Tensor:
        places = [index for index, name in enumerate(layer.layout.special) if name == token]
        return layer.on_tokens_RHP(slice(places[0], places[-1] + 1)).mean(-1)

    return mass


METRICS = (
    Metric("distance", "patches", "px", PLACED, _distance),
    Metric("distance_patch", "patches", "px", PLACED, _distance_patch, of_values=True),
    Metric("distance_ratio", "patches", "1", PLACED, _distance_ratio),
    Metric("entropy", "all", "nats", ANYWHERE, _entropy),
    Metric("entropy_normalised", "all", "1", ANYWHERE, _entropy_normalised),
    Metric("entropy_patch", "patches", "nats", (GLOBAL,), _entropy_patch),
    Metric("entropy_patch_normalised", "patches", "1", (GLOBAL,), _entropy_patch_normalised),
    Metric("entropy", "class", "nats", (GLOBAL,), lambda layer: layer.entropy_RHQ[..., 0], CLASS),
    Metric("confidence", "all", "1", (GLOBAL, WINDOWS), lambda layer: layer.weights_RHQK.amax(-1).mean(-1)),
    Metric("position_deviation", "patches", "1", PLACED, _position_deviation),
    Metric("nmi", "patches", "1", PLACED, _nmi),
    Metric("class_mass", "patches", "1", (GLOBAL,), _mass_on(CLASS), CLASS, of_values=True),
    Metric("register_mass", "patches", "1", (GLOBAL,), _mass_on(REGISTER), REGISTER, of_values=True),
    Metric("self_mass", "patches", "1", PLACED, lambda layer: layer.on_itself_RHP.mean(-1), of_values=True),
    Metric("sink_mass", "patches", "1", (GLOBAL,), lambda layer: layer.on_sinks_RHP.mean(-1), SINKS, of_values=True),
)
"""In the order of the heads table; a layer lacks those that need a token, a place or a layout that it has not."""
