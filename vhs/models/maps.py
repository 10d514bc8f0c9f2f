"""The attention maps of any network whose heads lie apart in a softmax over tokens, read while it runs.

The way in is that of discovery: while one attention module runs, a function mode sees the softmax, or the fused call,
whose map is computed again from its arguments, scale and mask. So no list of architectures appears here. A map is taken
for one if its rows sum to 1 and its product with the values has the width of a head, which the map between channels of
XCiT has not. What it is of is told by its shape.

Letters: B images, H heads, Q queries, K keys, W features of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vhs.errors import MismatchError
from vhs.models.discovery import ATTENTION, SOFTMAX, Seam
from vhs.models.hooks import hook_after, hook_before

PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm)
GLOBAL, WINDOWS, POOLED_KEYS, POOLING = "global", "windows", "pooled keys", "pooling"


@dataclass(frozen=True)
class Layout:
    """What one layer's map is of. kind: of all tokens to all; inside windows; to fewer keys; of one query that pools.

    queries, keys: how many.
    """

    kind: str
    queries: int
    keys: int


class MapReader:
    """Reads the maps of a network in the order of its seams.

    layouts: one a layer. Raises MismatchError naming the first layer that has no map over tokens.
    """

    def __init__(self, net: nn.Module, seams: Sequence[Seam], pixels_BCHW: Tensor) -> None:
        """pixels_BCHW: one or more images of the size the network takes; their values do not matter."""
        self._net, self._seams = net, seams
        maps = self.read(pixels_BCHW)
        for seam, weights in zip(seams, maps, strict=True):  # once: it waits for the device
            if not _sums_to_one(weights):
                raise self._no_map(seam, "one whose rows do not sum to 1")
        self.layouts = [_layout(weights, len(pixels_BCHW)) for weights in maps]

    def read(self, pixels_BCHW: Tensor) -> list[Tensor]:
        """float32 [B, H, Q, K] for each layer (B times windows, in windows); rows sum to 1."""
        kept: dict[int, list[Tensor]] = {layer: [] for layer in range(len(self._seams))}  # by layer what was seen
        with ExitStack() as stack, torch.inference_mode():
            for layer, seam in enumerate(self._seams):
                mode = _Watch(kept[layer], seam)
                stack.enter_context(hook_before(seam.projection, mode.see_projection))
                stack.enter_context(hook_before(seam.attention, partial(_begin, mode)))
                stack.enter_context(hook_after(seam.attention, partial(_end, mode)))
            self._net(pixels_BCHW)
        return [self._only(layer, kept[layer]) for layer in range(len(self._seams))]

    def _only(self, layer: int, maps: list[Tensor]) -> Tensor:
        if len(maps) != 1:
            raise self._no_map(self._seams[layer], "none" if not maps else "more than one")
        return maps[0].float()

    def _no_map(self, seam: Seam, seen: str) -> MismatchError:
        return MismatchError(
            f"{type(self._net).__name__}: {seam.path} has no attention map over tokens by head ({seen} was seen)."
        )


class _Watch(TorchFunctionMode):
    """Keeps what softmax gives where it averages values of a head's width, and for fused attention the map that it does
    not give."""

    def __init__(self, kept: list[Tensor], seam: Seam) -> None:
        super().__init__()
        self._kept, self._seam = kept, seam
        self._seen: list[tuple[Tensor, Tensor | None]] = []  # a map, and its product with the values

    def see_projection(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """What arrives says how wide a head is, and which way round: maps of another width are between channels."""
        arrived = self._seam.by_head(args[0])
        self._kept += [
            weights for weights, product in self._seen if product is not None and _is_of_tokens(product, arrived)
        ]
        self._seen.clear()

    def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        heads = self._seam.heads
        if function in ATTENTION:
            with torch._C.DisableTorchFunction():
                weights = _by_head(_fused_map(*args, **kwargs), heads)
                self._seen += [(weights, result)] if weights is not None else []
        elif function in SOFTMAX:
            weights = _by_head(result, heads)
            self._seen += [(weights, None)] if weights is not None else []
        elif function in PRODUCTS and self._seen and self._seen[-1][1] is None:
            weights = _by_head(args[0], heads)
            if weights is not None and weights.shape == self._seen[-1][0].shape:
                self._seen[-1] = (self._seen[-1][0], result)
        return result


def _is_of_tokens(product: Tensor, arrived: Tensor) -> bool:
    """Whether a map's product with the values [..., Q, W] is of heads as wide as in what the projection receives.

    arrived: [B, N, H, W] in most networks. A map between channels gives the transpose, as wide as there are tokens;
    where these are as many as a head's features, only the numbers tell.
    """
    width = arrived.shape[-1]
    if product.shape[-1] != width:
        return False
    if product.shape[-2] != width or product.dim() != 4 or arrived.dim() != 4:
        return True
    turned = product.permute(0, 3, 1, 2)
    return turned.shape != arrived.shape or not torch.allclose(turned, arrived)


def _by_head(weights: Tensor, heads: int) -> Tensor | None:
    """[rows, H, Q, K]; windows on an axis of their own become rows. None for what is laid out otherwise."""
    if weights.dim() == 5 and weights.shape[2] == heads:
        return weights.flatten(0, 1)
    return weights if weights.dim() == 4 and weights.shape[1] == heads else None


def _fused_map(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """The map of `scaled_dot_product_attention`, which it does not give; float32."""
    del value, dropout_p, enable_gqa
    scores = (query.float() * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.float().mT
    if is_causal:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(ahead, float("-inf"))
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1)


def _layout(weights_BHQK: Tensor, images: int) -> Layout:
    """By shape: more rows than images are windows; one query pools; fewer keys than queries were pooled."""
    rows, _, queries, keys = weights_BHQK.shape
    kind = WINDOWS if rows > images else POOLING if queries == 1 else GLOBAL if queries == keys else POOLED_KEYS
    return Layout(kind, queries, keys)


def _sums_to_one(weights: Tensor) -> bool:
    sums = weights.float().sum(-1)
    return bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-3))


def _begin(mode: _Watch, _module: nn.Module, _args: tuple[Any, ...]) -> None:
    mode.__enter__()


def _end(mode: _Watch, _module: nn.Module, _args: tuple[Any, ...], _output: Any) -> None:
    mode.__exit__(None, None, None)
