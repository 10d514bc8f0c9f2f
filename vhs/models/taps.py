"""A network that gives, beside its logits, what its terms of an objective need from inside.

Hooks are set when the network is wrapped, before it is shared between processes and before it is compiled: a hook that
is added after the first compiled call never fires. Fused attention stays on wherever no gradient is differentiated
again: scores are computed beside it, from the queries and keys that it receives.

Letters: B images, R images times windows, C classes, N tokens, H heads, W features a head, Q queries, K keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vhs.errors import MismatchError
from vhs.models import seam
from vhs.models.discovery import discover
from vhs.models.maps import MapReader

SCORES, MADE, ARRIVED, CLASS, DISTILLED = "scores", "made", "arrived", "class", "distilled"
"""Of a layer: what its softmax receives [R, H, Q, K], float32; queries, keys and values [B, N, 3 H W]; what its
projection receives [B, N, H W]. Of a network with a distillation token: either classifier's logits [B, C]."""


class Tap(NamedTuple):
    """One tensor inside a network. layer: 0-based, 0 for what is of the network."""

    what: str
    layer: int = 0


Seen = dict[Tap, Tensor]


class Tapped(nn.Module):
    """`net`, which gives (logits [B, C], {tap: tensor}).

    Raises MismatchError for a tap that this network has not. size: channels, height and width of its images; differs
    from a plain ViT's only in networks that are watched.
    """

    def __init__(self, net: nn.Module, taps: Iterable[Tap], size: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.net = net
        self.taps = tuple(dict.fromkeys(taps))
        self._kept: dict[str, Tensor] = {}
        self._hooks: list[RemovableHandle] = []
        self._reader: MapReader | None = None
        if seam.refusal(net) is None:
            for tap in self.taps:
                self._hook(tap)
        elif any(tap.what == SCORES for tap in self.taps):
            assert size is not None, "sizes of the images, to find the heads by"
            self._reader = _reader(net, size)
        other = [tap.what for tap in self.taps if tap.what != SCORES]
        if self._reader is not None and other:
            raise MismatchError(f"{type(net).__name__}: has no {other[0]}; a timm VisionTransformer has.")

    @property
    def compiles(self) -> bool:
        """Whether what is tapped goes through the compiler, which it does not where a network is watched."""
        return self._reader is None

    def forward(self, pixels_BCHW: Tensor) -> tuple[Tensor, Seen]:
        """One pass."""
        if self._reader is not None:
            watched, logits = self._reader.watch(pixels_BCHW, scores=True)
            return logits, {tap: watched[tap.layer].weights_RHQK.float() for tap in self.taps}
        logits = self.net(pixels_BCHW)
        seen = {tap: self._value(tap) for tap in self.taps}
        self._kept.clear()  # or activations would live until the next pass
        return logits, seen

    def remove(self) -> None:
        """Take the hooks off the network."""
        for hook in self._hooks:
            hook.remove()

    def _hook(self, tap: Tap) -> None:
        if tap.what in (CLASS, DISTILLED):
            name = "head" if tap.what == CLASS else "head_dist"
            if not hasattr(self.net, "head_dist"):
                raise MismatchError(f"{type(self.net).__name__}: has no distillation token.")
            return self._keep(self.net.get_submodule(name), _key(tap))
        block = seam.blocks(self.net)[tap.layer]
        attention = seam.attention(block)
        if tap.what == SCORES:
            for name in ("q_norm", "k_norm"):
                self._keep(cast(nn.Module, getattr(attention, name)), f"{_key(tap)}.{name}")
        elif tap.what == MADE:
            self._keep(seam.incoming(block), _key(tap))
        else:
            hook = partial(_keep_input, self._kept, _key(tap))
            self._hooks.append(seam.projection(block).register_forward_pre_hook(hook))

    def _keep(self, module: nn.Module, key: str) -> None:
        self._hooks.append(module.register_forward_hook(partial(_keep_output, self._kept, key)))

    def _value(self, tap: Tap) -> Tensor:
        if tap.what != SCORES:
            return self._kept[_key(tap)]
        attention = seam.attention(seam.blocks(self.net)[tap.layer])
        return seam.scores(attention, *(self._kept[f"{_key(tap)}.{name}"] for name in ("q_norm", "k_norm")))


def without_hooks(net: nn.Module) -> nn.Module:
    """The same network with the hooks of taps, which came with it into a copy, removed in place."""
    for module in net.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return net


def _reader(net: nn.Module, size: tuple[int, int, int]) -> MapReader:
    """Raises MismatchError where the heads or maps of the network cannot be reached."""
    training = {module: module.training for module in net.modules()}
    device = next(net.parameters()).device
    pixels = torch.randn(2, *size, generator=torch.Generator().manual_seed(0)).to(device)
    seams, reason = discover(net.eval(), pixels)
    if reason:
        raise MismatchError(f"{type(net).__name__}: {reason}.")
    reader = MapReader(net, seams, pixels)
    for module, was in training.items():
        module.training = was
    return reader


def _key(tap: Tap) -> str:
    return f"{tap.what}.{tap.layer}"


def _keep_output(kept: dict[str, Tensor], key: str, _module: nn.Module, _args: tuple[Tensor, ...], out: Tensor) -> None:
    kept[key] = out


def _keep_input(kept: dict[str, Tensor], key: str, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
    kept[key] = args[0]
