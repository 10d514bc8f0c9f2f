"""How the logits of every ablated variant of a network are computed; one interface, three ways.

- `fast`: timm's plain VisionTransformer, by models/prefix: only what a head cannot leave unchanged is computed.
- `replay`: any network with a list of blocks that run one after another: timm's own forward, in which the
  blocks before the ablated one are replaced by what they gave for the intact image.
- `hooks`: any network with head seams: timm's own forward, whole, for every variant.

Letters: B images (one tile), V variants, H heads, N tokens, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vhs.errors import MismatchError
from vhs.grid import HEADS, HeadGrid, Units
from vhs.models import prefix, seam, surgery
from vhs.models.discovery import Seam, discover
from vhs.models.hooks import hook_after, hook_before, keep_input, keep_output

Fill = Callable[[int, int], "Tensor | None"]
"""(layer, rows) -> what stands in for a removed head where the projection reads it, for `rows` rows of its input
or broadcast to them; None for zeros."""


class Engine(Protocol):
    """What the sweep needs of a network. path: `fast`, `replay` or `hooks`."""

    @property
    def path(self) -> str: ...

    @property
    def grid(self) -> HeadGrid: ...

    @property
    def seams(self) -> Sequence[Seam]:
        """For each layer where its heads lie side by side."""

    def sweep(
        self, pixels_BCHW: Tensor, stack: int, keeps: Sequence[np.ndarray], fills: Sequence[Fill]
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (position in `fills`, logits [V, B, C]) of up to `stack` variants, by layer, fill and row of `keeps`;
        at last (-1, the intact logits [1, B, C]).

        keeps: for each layer weights [U, H], on the host: 0 for the heads that a variant loses.
        """


def keeps(grid: HeadGrid, wanted: Units = HEADS, *, rescale: bool = False) -> list[np.ndarray]:
    """For each layer weights, float32 [U, H]: of the heads that each unit of `grid.units(wanted)` leaves, sham first.

    Zeros and ones; with `rescale` H / kept instead of ones (DiverseViT's factor).
    """
    rows: list[list[np.ndarray]] = [[] for _ in grid.per_layer]
    for unit in grid.units(wanted):
        layer = unit.layer or 0
        rows[layer].append(keep_row(grid.per_layer[layer], grid.positions(layer, unit.removed), rescale=rescale))
    return [np.reshape(part, (len(part), count)) for part, count in zip(rows, grid.per_layer, strict=True)]


def keep_row(heads: int, removed: Sequence[int], *, rescale: bool = False) -> np.ndarray:
    """float32 [H], on the host: 0 for the removed heads of one layer, for the others 1, or H / kept."""
    keep = np.ones(heads, np.float32)
    keep[list(removed)] = 0
    return keep * heads / max(keep.sum(), np.float32(1)) if rescale else keep


def _stacks(keep_UH: np.ndarray, stack: int) -> Iterator[np.ndarray]:
    """Up to `stack` rows at a time."""
    return (keep_UH[start : start + stack] for start in range(0, len(keep_UH), stack))


def zero(_layer: int, _rows: int) -> None:
    """The fill that removes a head without a trace."""
    return None


@dataclass(frozen=True)
class Fast:
    """timm's plain VisionTransformer."""

    net: VisionTransformer
    grid: HeadGrid
    kernels: prefix.Kernels = prefix.EAGER
    path: str = "fast"

    @property
    def seams(self) -> Sequence[Seam]:
        return [
            Seam(f"blocks.{layer}.attn", heads, seam.attention(block), seam.projection(block), channels_last=True)
            for layer, (block, heads) in enumerate(zip(seam.blocks(self.net), self.grid.per_layer, strict=True))
        ]

    def sweep(
        self, pixels_BCHW: Tensor, stack: int, keeps: Sequence[np.ndarray], fills: Sequence[Fill]
    ) -> Iterator[tuple[int, Tensor]]:
        for state in prefix.intact(self.net, pixels_BCHW):
            if isinstance(state, Tensor):
                yield -1, state[None]
                continue
            for index, fill in enumerate(fills):
                lost_BNK = _beyond_fill(state, fill)
                for keep_VH in _stacks(keeps[state.layer], stack):
                    yield index, self._variants(state, lost_BNK, keep_VH)

    def _variants(self, state: prefix.LayerState, lost_BNK: Tensor, keep_VH: np.ndarray) -> Tensor:
        """[V, B, C]. lost_BNK: what each head gives beyond its fill."""
        removed_VBND = prefix.contribution(seam.blocks(self.net)[state.layer], lost_BNK, keep_VH)
        residual = (state.residual_BND - removed_VBND).flatten(0, 1)
        logits = prefix.suffix(self.net, state.layer, residual, self.kernels)
        return logits.view(len(keep_VH), -1, logits.shape[-1])


def _beyond_fill(state: prefix.LayerState, fill: Fill) -> Tensor:
    """[B, N, K]: the heads less their fill; of the last block only the tokens that are read are there."""
    heads_BNK = state.heads_BNK
    instead = fill(state.layer, len(heads_BNK))
    if instead is None:
        return heads_BNK
    return heads_BNK - (instead[..., : heads_BNK.shape[1], :] if instead.shape[-2] > 1 else instead)


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

    def sweep(
        self, pixels_BCHW: Tensor, stack: int, keeps: Sequence[np.ndarray], fills: Sequence[Fill]
    ) -> Iterator[tuple[int, Tensor]]:
        inputs, intact = self._intact(pixels_BCHW)
        for layer, keep_UH in enumerate(keeps):
            for index, fill in enumerate(fills):
                for keep_VH in _stacks(keep_UH, stack):
                    hook = partial(mask_heads, self.seams[layer], keep_VH, partial(fill, layer))
                    yield index, self._logits(pixels_BCHW, layer, len(keep_VH), hook, inputs[: layer + 1])
        yield -1, intact[None]

    def _intact(self, pixels_BCHW: Tensor) -> tuple[list[Tensor], Tensor]:
        """What each block received and the last one gave, and the logits."""
        kept: list[Tensor] = []
        with ExitStack() as stack:
            for name in self.blocks:
                stack.enter_context(hook_before(self.net.get_submodule(name), partial(keep_input, kept)))
            if self.blocks:
                stack.enter_context(hook_after(self.net.get_submodule(self.blocks[-1]), partial(keep_output, kept)))
            logits = self.net(pixels_BCHW)
        return kept, logits

    def _logits(
        self, pixels_BCHW: Tensor, layer: int, variants: int, hook: Callable[..., object], inputs: list[Tensor]
    ) -> Tensor:
        """[V, B, C]. hook: what removes heads; inputs: what the blocks up to the ablated one received."""
        with ExitStack() as stack:
            if len(inputs) > 1:
                stack.enter_context(self._replay(inputs, variants))
            stack.enter_context(hook_before(self.seams[layer].projection, hook))
            logits = self.net(pixels_BCHW.repeat(variants, 1, 1, 1))
        return logits.view(variants, -1, logits.shape[-1])

    @contextmanager
    def _replay(self, inputs: list[Tensor], variants: int) -> Iterator[None]:
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
        return _with_heads(Fast(cast(VisionTransformer, net), seam.head_grid(net)))
    if size is None:
        raise MismatchError(f"{type(net).__name__}: {refused}.")
    parameter = next(net.parameters())
    pixels = torch.rand(1, *size, device=parameter.device, dtype=parameter.dtype)
    seams, reason = discover(net, pixels)
    if reason:
        raise MismatchError(f"{type(net).__name__}: {reason}, so that no head of it can be removed alone.")
    modules = tuple(place.name for place in seams)
    kept = surgery.numbers_of([place.attention for place in seams])
    grid = HeadGrid(tuple(place.heads for place in seams), modules, kept)
    return _with_heads(Hooked(net, seams, grid, _sequence(net, seams, pixels)))


def _with_heads(engine: Fast | Hooked) -> Engine:
    if not len(engine.grid):
        raise MismatchError(f"{type(engine.net).__name__}: no head is left, all were taken out.")
    return engine


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
            stack.enter_context(hook_before(block, partial(keep_input, received)))
            stack.enter_context(hook_after(block, partial(keep_output, given)))
        with torch.inference_mode():
            net(pixels_BCHW)
    passed = zip(received[1:], given[:-1], strict=True) if len(received) == len(given) == len(listed) else None
    if passed is None or not all(isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b) for a, b in passed):
        return ()
    return names


def mask_heads(
    place: Seam, keep_VH: np.ndarray, fill: Callable[[int], Tensor | None], _module: nn.Module, args: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """A hook before a projection: the heads that `keep_VH` (on the host) does not keep are filled."""
    instead = fill(len(args[0]) // len(keep_VH))
    beside = torch.from_numpy(keep_VH).to(args[0].device, non_blocking=True)
    return (place.without(args[0], beside, instead), *args[1:])
