"""How the logits of every ablated variant of a network are computed; one interface, three ways.

- `fast`: timm's plain VisionTransformer, by models/prefix: only what a head cannot leave unchanged is computed.
- `replay`: any network with a list of blocks that run one after another: timm's own forward, in which the
  blocks before the ablated one are replaced by what they gave for the intact image.
- `hooks`: any network with head seams: timm's own forward, whole, for every variant.

Letters: B images (one tile), V variants, H heads, N tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vhs.errors import MismatchError
from vhs.grid import HeadGrid
from vhs.models import prefix, seam
from vhs.models.discovery import Seam, discover, hooked


class Engine(Protocol):
    """What the sweep needs of a network. path: `fast`, `replay` or `hooks`."""

    @property
    def path(self) -> str: ...

    @property
    def grid(self) -> HeadGrid: ...

    def sweep(self, pixels_BCHW: Tensor, group: int) -> Iterator[Tensor]:
        """Yield logits [V, B, C] of up to `group` variants: the sham first, then the heads in grid order; at last the
        intact logits [1, B, C]."""


@dataclass(frozen=True)
class Fast:
    """timm's plain VisionTransformer."""

    net: VisionTransformer
    grid: HeadGrid
    kernels: prefix.Kernels = prefix.EAGER
    path: str = "fast"

    def sweep(self, pixels_BCHW: Tensor, group: int) -> Iterator[Tensor]:
        for state in prefix.intact(self.net, pixels_BCHW):
            if isinstance(state, Tensor):
                yield state[None]
            else:
                yield from self._variants(state, group)

    def _variants(self, state: prefix.LayerState, group: int) -> Iterator[Tensor]:
        """Each stack of this layer's units; the sham rides with layer 0."""
        block, sham = seam.blocks(self.net)[state.layer], int(state.layer == 0)
        units = sham + self.grid.per_layer[state.layer]
        for start in range(0, units, group):
            chosen = slice(max(start - sham, 0), min(start + group, units) - sham)
            removed_VBND = prefix.contributions(block, state.heads_BNK, chosen)
            if sham and start == 0:
                removed_VBND = torch.cat([torch.zeros_like(state.residual_BND)[None], removed_VBND])
            residual = (state.residual_BND - removed_VBND).flatten(0, 1)
            logits = prefix.suffix(self.net, state.layer, residual, self.kernels)
            yield logits.view(len(removed_VBND), -1, logits.shape[-1])


@dataclass(frozen=True)
class Hooked:
    """A network with head seams. blocks: those that run one after another, with the first seams in them; or none."""

    net: nn.Module
    seams: Sequence[Seam]
    grid: HeadGrid
    blocks: Sequence[str] = ()

    @property
    def path(self) -> str:
        return "replay" if self.blocks else "hooks"

    def sweep(self, pixels_BCHW: Tensor, group: int) -> Iterator[Tensor]:
        inputs, intact = self._intact(pixels_BCHW)
        for layer, place in enumerate(self.seams):
            sham = [torch.ones(1, place.heads)] if layer == 0 else []
            keep_UH = torch.cat([*sham, 1 - torch.eye(place.heads)]).to(pixels_BCHW.device)
            for keep_VH in keep_UH.split(group):
                yield self._ablated(pixels_BCHW, place, keep_VH, inputs[: layer + 1] if inputs else [])
        yield intact[None]

    def _intact(self, pixels_BCHW: Tensor) -> tuple[list[Tensor], Tensor]:
        """What each block received and the last one gave, and the logits."""
        kept: list[Tensor] = []
        with ExitStack() as stack:
            for name in self.blocks:
                stack.enter_context(hooked(self.net.get_submodule(name), partial(_keep_input, kept)))
            if self.blocks:
                handle = self.net.get_submodule(self.blocks[-1]).register_forward_hook(partial(_keep_output, kept))
                stack.callback(handle.remove)
            logits = self.net(pixels_BCHW)
        return kept, logits

    def _ablated(self, pixels_BCHW: Tensor, place: Seam, keep_VH: Tensor, inputs: list[Tensor]) -> Tensor:
        """[V, B, C]. inputs: what the blocks up to the ablated one received."""
        variants = len(keep_VH)
        with ExitStack() as stack:
            if len(inputs) > 1:
                stack.enter_context(self._replayed(inputs, variants))
            stack.enter_context(hooked(place.projection, partial(_masked, place, keep_VH)))
            logits = self.net(pixels_BCHW.repeat(variants, 1, 1, 1))
        return logits.view(variants, -1, logits.shape[-1])

    @contextmanager
    def _replayed(self, inputs: list[Tensor], variants: int) -> Iterator[None]:
        """Inside, the blocks before the last of `inputs` do nothing, but that it receives that input."""
        last = inputs[-1].repeat(variants, *[1] * (inputs[-1].dim() - 1))
        names = list(self.blocks[: len(inputs) - 1])
        before = {name: self.net.get_submodule(name) for name in names}
        try:
            for name in names:
                self.net.set_submodule(name, _Replay(last if name == names[-1] else None))
            yield
        finally:
            for name, block in before.items():
                self.net.set_submodule(name, block)


class _Replay(nn.Module):
    """Gives a kept tensor, or what it receives."""

    def __init__(self, kept: Tensor | None) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, received: Tensor, *_: object, **__: object) -> Tensor:
        """Takes whatever the block in its place takes, and uses none of it."""
        return received if self.kept is None else self.kept


def engine_of(net: nn.Module, size: tuple[int, int, int] | None = None) -> Engine:
    """The best way for this network. size: channels, height and width of its input, needed unless it is a plain ViT.

    Raises MismatchError with the reason where its heads cannot be reached.
    """
    refused = seam.refusal(net)
    if refused is None:
        return Fast(cast(VisionTransformer, net), seam.head_grid(net))
    if size is None:
        raise MismatchError(f"{type(net).__name__}: {refused}.")
    parameter = next(net.parameters())
    pixels = torch.rand(1, *size, device=parameter.device, dtype=parameter.dtype)
    seams, reason = discover(net, pixels)
    if reason:
        raise MismatchError(f"{type(net).__name__}: {reason}, so that no head of it can be removed alone.")
    modules = tuple(place.path.rpartition(".")[2] for place in seams)
    grid = HeadGrid(tuple(place.heads for place in seams), modules)
    return Hooked(net, seams, grid, _sequence(net, seams, pixels))


def _sequence(net: nn.Module, seams: Sequence[Seam], pixels_BCHW: Tensor) -> Sequence[str]:
    """The blocks of `net.blocks`, if they run one after another, each on the other's result, with a seam in each."""
    listed = getattr(net, "blocks", None)
    if not isinstance(listed, (nn.ModuleList, nn.Sequential)):
        return ()
    names = [f"blocks.{index}" for index in range(len(listed))]
    owners = [".".join(place.path.split(".")[:2]) for place in seams]
    if owners[: len(names)] != names or set(owners[len(names) :]) & set(names):
        return ()
    received: list[Tensor] = []
    given: list[Tensor] = []
    with ExitStack() as stack:
        for block in listed:
            stack.enter_context(hooked(block, partial(_keep_input, received)))
            handle = block.register_forward_hook(partial(_keep_output, given))
            stack.callback(handle.remove)
        with torch.inference_mode():
            net(pixels_BCHW)
    passed = zip(received[1:], given[:-1], strict=True) if len(received) == len(given) == len(listed) else None
    if passed is None or not all(isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b) for a, b in passed):
        return ()
    return names


def _keep_input(kept: list[Tensor], _module: nn.Module, args: tuple[Tensor, ...]) -> None:
    kept.append(args[0])


def _keep_output(kept: list[Tensor], _module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
    kept.append(output)


def _masked(place: Seam, keep_VH: Tensor, _module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (place.without(args[0], keep_VH), *args[1:])
