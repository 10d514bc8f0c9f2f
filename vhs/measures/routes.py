"""Other maps over a head's own values: what it looks at is exchanged, what it passes on stays its own.

Letters: B images, R images times windows, V windows of an image, H heads, Q queries, K keys, W features of a head,
D donors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vhs.errors import MismatchError
from vhs.models.engine import Fill
from vhs.models.maps import MapReader, passes_averages_on
from vhs.models.model import Model

MASKED = 1e-30
"""A key with less weight than this in all heads of two images of noise is masked; no score reaches so low by itself."""
DONORS = 64
DONOR_BYTES = 1 << 30
"""Maps of so many images, or of as many as this holds (two at least), are kept of each model as donors."""


class Routes:
    """Values and maps of a model whose heads pass on averages of values and nothing more.

    Raises MismatchError naming the first layer where something stands between the average and the projection, or that
    has no map over tokens.
    """

    def __init__(self, model: Model) -> None:
        self._model, self._seams = model, model.engine.seams
        self._reader = MapReader(model.net, self._seams, model.noise().to(model.device))
        self._windows = [layout.windows for layout in self._reader.layouts]
        pairs = list(zip(self._seams, self._reader.probe, strict=True))
        for place, seen in pairs:
            if not passes_averages_on(place, seen):
                raise MismatchError(
                    f"{model.name}: {place.path} changes what its heads average before the projection (a norm, a gate "
                    f"or a merging), so that fills by other maps (uniform, mean-map, donor-map) do not apply."
                )
        self._tokens = [place.by_head(seen.arrived).shape[1:-2] for place, seen in pairs]
        self.even = [self._even(layer) for layer in range(len(self._seams))]

    def values(self, images_BCHW: Tensor) -> list[Tensor]:
        """For each layer [R, H, K, W]: what its heads average in these uint8 images."""
        with torch.inference_mode(), self._model.autocast():
            watched, _ = self._reader.watch(self._model.preprocess(images_BCHW), maps=False)
        return [seen.values_RHKW for seen in watched]

    def maps(self, images_BCHW: Tensor) -> list[Tensor]:
        """For each layer float32 [B, V, H, Q, K]."""
        with torch.inference_mode(), self._model.autocast():
            watched, _ = self._reader.watch(self._model.preprocess(images_BCHW))
        pairs = zip(watched, self._windows, strict=True)
        return [seen.weights_RHQK.unflatten(0, (-1, windows)) for seen, windows in pairs]

    def fill(self, values: Sequence[Tensor], maps: Sequence[Tensor]) -> Fill:
        """The values averaged by these maps, [B or 1, V, H or 1, Q, K] a layer."""

        def filled(layer: int, _rows: int) -> Tensor:
            own = values[layer].unflatten(0, (-1, self._windows[layer]))
            averages = maps[layer].to(own) @ own
            heads = averages.flatten(0, 1).transpose(1, 2)
            return self._seams[layer].from_heads(heads.unflatten(1, self._tokens[layer]))

        return filled

    def donors(self) -> int:
        """How many images' maps are kept: as many as DONOR_BYTES hold."""
        each = sum(seen.weights_RHQK[: len(seen.weights_RHQK) // 2].numel() * 4 for seen in self._reader.probe)
        return max(2, min(DONORS, DONOR_BYTES // each))

    def _even(self, layer: int) -> Tensor:
        """[1, V, 1, Q, K]: 1 over the number of keys that are not masked."""
        weights = self._reader.probe[layer].weights_RHQK.unflatten(0, (-1, self._windows[layer]))
        allowed = (weights > MASKED).any(0, keepdim=True).any(2, keepdim=True).float()
        return allowed / allowed.sum(-1, keepdim=True)
