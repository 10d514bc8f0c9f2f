"""The attention maps of any network whose heads lie apart in a softmax over tokens, read while it runs.

The way in is that of discovery: while one attention module runs, a function mode sees the softmax, or the fused call,
whose map is computed again from its arguments, scale and mask. So no list of architectures appears here. A map is taken
for one if its rows sum to 1 and its product with the values has the width of a head, which the map between channels of
XCiT has not. What it is of is told by its shape.

Letters: B images, R images times windows, H heads, Q queries, K keys, W features of a head, D width.
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
from vhs.models.tokens import layout_of, tokens_first

PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm)


@dataclass(frozen=True)
class Watched:
    """What one layer did. weights_RHQK: float32, rows sum to 1, empty where no maps were asked for; values_RHKW: what
    they average; average: the result, as the module made it; arrived: what the projection received; received: what the
    attention module did; residual: what its block did, None where that is not one tensor."""

    weights_RHQK: Tensor
    values_RHKW: Tensor
    average: Tensor
    arrived: Tensor
    received: Tensor | None
    residual: Tensor | None


class MapReader:
    """Reads the maps of a network in the order of its seams.

    layouts: one a layer. Raises MismatchError naming the first layer that has no map over tokens.
    """

    def __init__(self, net: nn.Module, seams: Sequence[Seam], pixels_BCHW: Tensor) -> None:
        """pixels_BCHW: one or more images of the size the network takes; their values do not matter."""
        self._net, self._seams = net, seams
        self.probe = self.read(pixels_BCHW)
        for seam, layer in zip(seams, self.probe, strict=True):  # once: it waits for the device
            if not _sums_to_one(layer.weights_RHQK):
                raise self._no_map(seam, "one whose rows do not sum to 1")
        height, width = pixels_BCHW.shape[-2:]
        self.layouts = [
            layout_of(net, seam.attention, layer.weights_RHQK.shape, len(pixels_BCHW), (height, width))
            for seam, layer in zip(seams, self.probe, strict=True)
        ]

    def read(self, pixels_BCHW: Tensor) -> list[Watched]:
        """Every layer, from one pass without gradients."""
        with torch.inference_mode():
            return self.watch(pixels_BCHW)[0]

    def watch(
        self, pixels_BCHW: Tensor, *, maps: bool = True, scores: bool = False
    ) -> tuple[list[Watched], Tensor]:  # fmt: skip
        """(every layer, what the network gives), with gradients where they are on.

        maps: False keeps no map, and makes none of fused attention. scores: keep in the place of weights what the
        softmax receives, with scale and mask, float32, and with its gradients.
        """
        modes = [_Watch(seam, maps=maps, scores=scores) for seam in self._seams]
        with ExitStack() as stack:
            for mode, seam in zip(modes, self._seams, strict=True):
                stack.enter_context(hook_before(seam.projection, mode.see_projection))
                stack.enter_context(hook_before(seam.attention, partial(_keep_first, mode.received)))
                stack.enter_context(hook_before(self._block(seam), partial(_keep_first, mode.residual)))
                stack.enter_context(hook_before(seam.attention, partial(_begin, mode)))
                stack.enter_context(hook_after(seam.attention, partial(_end, mode)))
            output = self._net(pixels_BCHW)
        return [self._only(mode) for mode in modes], output

    def _block(self, seam: Seam) -> nn.Module:
        """What owns the attention module."""
        return self._net.get_submodule(seam.path.rpartition(".")[0])

    def _only(self, mode: _Watch) -> Watched:
        if len(mode.kept) != 1:
            raise self._no_map(mode.seam, "none" if not mode.kept else "more than one")
        return mode.kept[0]

    def _no_map(self, seam: Seam, seen: str) -> MismatchError:
        return MismatchError(
            f"{type(self._net).__name__}: {seam.path} has no attention map over tokens by head ({seen} was seen)."
        )


@dataclass
class _Candidate:
    weights: Tensor
    values: Tensor | None = None
    average: Tensor | None = None


class _Watch(TorchFunctionMode):
    """Keeps what softmax gives where it averages values of a head's width, and for fused attention the map that it does
    not give."""

    def __init__(self, seam: Seam, *, maps: bool, scores: bool = False) -> None:
        super().__init__()
        self.seam, self.maps, self.scores = seam, maps, scores
        self.kept: list[Watched] = []
        self.received: list[Tensor | None] = []
        self.residual: list[Tensor | None] = []
        self._seen: list[_Candidate] = []

    def see_projection(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        """What arrives says how wide a head is, and which way round: maps of another width are between channels."""
        arrived = self.seam.by_head(args[0])
        for seen in self._seen:
            if seen.values is not None and seen.average is not None and _is_of_tokens(seen.average, arrived):
                values = _by_head(seen.values, self.seam.heads, shared=True)
                if values is not None:
                    met = (*self.received[-1:], None)[0], (*self.residual[-1:], None)[0]
                    weights = seen.weights.float() if self.maps else values.new_empty(0)
                    if self.maps and not self.scores and seen.weights.dtype != torch.float32:
                        weights = weights / weights.sum(-1, keepdim=True)  # rounded rows do not sum to 1
                    self.kept.append(Watched(weights, values, seen.average, args[0], *met))
        self._seen.clear()

    def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        heads = self.seam.heads
        if function in ATTENTION:
            values = kwargs["value"] if "value" in kwargs else args[2]
            weights = _by_head(self._fused(args, kwargs) if self.maps else result, heads)
            self._seen += [_Candidate(weights, values, result)] if weights is not None else []
        elif function in SOFTMAX:
            weights = _by_head((args[0] if args else kwargs["input"]) if self.scores else result, heads)
            self._seen += [_Candidate(weights)] if weights is not None else []
        elif function in PRODUCTS and self._seen and self._seen[-1].average is None:
            weights = _by_head(args[0], heads)
            if weights is not None and weights.shape == self._seen[-1].weights.shape:
                kept = self._seen[-1].weights if self.scores else weights  # what is applied may be a mixture of maps
                self._seen[-1] = _Candidate(kept, args[1], result)
        return result

    def _fused(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        exactly = torch.autocast(args[0].device.type if args else kwargs["query"].device.type, enabled=False)
        with torch._C.DisableTorchFunction(), exactly:
            if self.scores:
                return _fused_scores(*args, **kwargs)
            with torch.no_grad():
                return _fused_scores(*args, **kwargs).softmax(-1)


def passes_averages_on(seam: Seam, seen: Watched) -> bool:
    """Whether the projection receives the values' averages themselves: no norm and no gate stands between."""
    heads = seam.by_head(seen.arrived)
    heads_RQHW = tokens_first(heads, len(heads)).float()
    ours = (seen.weights_RHQK @ seen.values_RHKW.float()).transpose(1, 2)
    return heads_RQHW.shape == ours.shape and bool(torch.allclose(heads_RQHW, ours, atol=1e-3, rtol=1e-2))


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


def _by_head(weights: Tensor, heads: int, *, shared: bool = False) -> Tensor | None:
    """[R, H, …]; windows on an axis of their own become rows. None for what is laid out otherwise.

    shared: whether all heads may have one.
    """
    if weights.dim() == 5 and (weights.shape[1] == heads) != (weights.shape[2] == heads):
        by_window = weights if weights.shape[2] == heads else weights.transpose(1, 2)
        return by_window.flatten(0, 1)
    if shared and weights.dim() == 4 and weights.shape[1] == 1:
        return weights.expand(-1, heads, -1, -1)
    return weights if weights.dim() == 4 and weights.shape[1] == heads else None


def _fused_scores(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """What the softmax inside `scaled_dot_product_attention` receives; float32."""
    del value, dropout_p, enable_gqa
    scores = (query.float() * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.float().mT
    if is_causal:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(ahead, float("-inf"))
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf")) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores


def _sums_to_one(weights: Tensor) -> bool:
    sums = weights.float().sum(-1)
    return bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-3))


def _keep_first(kept: list[Tensor | None], _module: nn.Module, args: tuple[Any, ...]) -> None:
    """A hook that keeps the first argument, if it is a tensor."""
    kept.append(args[0] if args and isinstance(args[0], Tensor) else None)


def _begin(mode: _Watch, _module: nn.Module, _args: tuple[Any, ...]) -> None:
    mode.__enter__()


def _end(mode: _Watch, _module: nn.Module, _args: tuple[Any, ...], _output: Any) -> None:
    mode.__exit__(None, None, None)
