"""Where a model's attention maps come from, and what their tokens are.

Letters: B images, G heads of the model, N tokens (class token and registers first, then the patches, by rows).
"""

from __future__ import annotations

from math import prod
from typing import Protocol

import torch
from torch import Tensor

from vhs.errors import MismatchError
from vhs.measures import divergence
from vhs.models import prefix, seam
from vhs.models.maps import GLOBAL, MapReader
from vhs.models.model import Model


class MapSource(Protocol):
    """grid: patches (rows, columns); patch: their side, px; special: tokens before them; has_class_token: whether the
    first of these is one."""

    grid: tuple[int, int]
    patch: int
    special: int
    has_class_token: bool

    def read(self, pixels_BCHW: Tensor) -> Tensor:
        """float32 [G, B, N, N]: every head's map on preprocessed images."""


class PlainMaps:
    """Of timm's plain ViT: computed again from each layer's normed input; the pass itself keeps fused attention."""

    def __init__(self, model: Model) -> None:
        assert model.plain is not None
        self._model, self._net = model, model.plain
        self.grid, self.patch = self._net.patch_embed.grid_size, self._net.patch_embed.patch_size[0]
        self.special, self.has_class_token = self._net.num_prefix_tokens, self._net.has_class_token

    def read(self, pixels_BCHW: Tensor) -> Tensor:
        maps = []
        with self._model.autocast():
            tokens = prefix.embed(self._net, pixels_BCHW)
            for block in seam.blocks(self._net):
                maps.append(seam.attention_maps(seam.attention(block), block.norm1(tokens)))
                tokens = block(tokens)
        return divergence.stack_layers(maps)


class WatchedMaps:
    """Of any network all of whose layers attend from all tokens to all: read while it runs.

    Raises MismatchError naming the layer that does not, or that the network has no grid of patches.
    """

    def __init__(self, model: Model) -> None:
        self._model, net = model, model.net
        size = model.preprocess
        pixels = torch.zeros(2, size.channels, size.height, size.width, device=model.device)
        self._reader = MapReader(net, model.engine.seams, pixels)
        embed = getattr(net, "patch_embed", None)
        grid, patch = getattr(embed, "grid_size", None), getattr(embed, "patch_size", None)
        if not grid or not patch:
            raise MismatchError(f"{model.name}: has no grid of patches, so that its attention has no distances.")
        self.grid, self.patch = tuple(grid), patch[0]
        tokens = self._reader.layouts[0].queries
        self.special = getattr(net, "num_prefix_tokens", tokens - prod(grid))
        self.has_class_token = getattr(net, "cls_token", None) is not None
        for layer, layout in enumerate(self._reader.layouts):
            if layout.kind != GLOBAL or layout.queries != self.special + prod(grid):
                shape = f"{layout.queries} queries to {layout.keys} keys"
                raise MismatchError(
                    f"{model.name}: layer {layer} attends in {layout.kind}, {shape}; maps are measured "
                    f"where all {self.special + prod(grid)} tokens attend to all."
                )

    def read(self, pixels_BCHW: Tensor) -> Tensor:
        with self._model.autocast():
            return divergence.stack_layers(self._reader.read(pixels_BCHW))


def source_of(model: Model) -> MapSource:
    """The quickest source of a model's maps. Raises MismatchError where it has none."""
    return PlainMaps(model) if model.plain is not None else WatchedMaps(model)
