"""What one run removes from a network: which units, with the kept heads rescaled or not, and the logits without them.

Units within one layer go through the engine's stacked sweep. MLPs, and sets of heads over several layers, take a whole
pass each, with hooks.

Letters: B images (one tile), V variants, H heads, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from vhs.errors import MismatchError
from vhs.grid import HEADS, Unit, Units
from vhs.models import seam
from vhs.models.engine import Engine, Fast, Fill, Hooked, keep_row, keeps, mask_heads
from vhs.models.hooks import hook_after, hook_before

Score = TypeVar("Score")
MLPS = ("mlp", "ffn")


class Removal:
    """The units of a network that go in turn. Raises MismatchError where it has none such."""

    def __init__(self, net: nn.Module, engine: Engine, units: Units = HEADS, *, rescale: bool = False) -> None:
        self.net = net
        self.engine = engine
        self.units: list[Unit] = list(engine.grid.units(units))
        self._rescale = rescale
        self._seams = engine.seams
        self._whole = any(unit.kind in ("mlp", "set") for unit in self.units)
        self._keeps = [] if self._whole else keeps(engine.grid, units, rescale=rescale)
        self._mlps = _mlps(net, engine) if units.kind == "mlp" else []

    def sweep(self, pixels_BCHW: Tensor, stack: int, fills: Sequence[Fill]) -> Iterator[tuple[int, Tensor]]:
        """Yield (position in `fills`, logits [V, B, C]) in the order of `units`; at last (-1, the intact logits)."""
        if not self._whole:
            yield from self.engine.sweep(pixels_BCHW, stack, self._keeps, fills)
            return
        for index, fill in enumerate(fills):
            for unit in self.units:
                yield index, self._without(pixels_BCHW, unit, fill)[None]
        yield -1, self.net(pixels_BCHW)[None]

    def scores(
        self, pixels_BCHW: Tensor, stack: int, fills: Sequence[Fill], score: Callable[[Tensor], Score]
    ) -> tuple[Score, list[list[Score]]]:
        """(the intact network's score, by fill those of `units`); score: of logits [B, C]."""
        found: dict[int, list[Score]] = {}
        for index, logits_VBC in self.sweep(pixels_BCHW, stack, fills):
            found.setdefault(index, []).extend(score(logits_BC) for logits_BC in logits_VBC)
        (intact,) = found.pop(-1)
        return intact, [found[index] for index in range(len(fills))]

    def partners(self) -> tuple[Tensor, Tensor]:
        """([2, U], [U]): the units a, b and the sign by which a unit u is scored: sign * (a + b - u - sham).

        `pair` is measured against its two heads, `only` against its empty layer; others against themselves: 0.
        """
        places = {(unit.kind, unit.layer, unit.head): index for index, unit in enumerate(self.units)}
        a, b, sign = [], [], []
        for index, unit in enumerate(self.units):
            alone, other = index, 0
            if unit.kind == "pair":
                alone, other = places["head", unit.layer, unit.head], places["head", unit.layer, unit.head_b]
            elif unit.kind == "only":
                alone = places["layer", unit.layer, None]
            a.append(alone)
            b.append(other)
            sign.append(-1 if unit.kind == "only" else 1)
        return torch.tensor([a, b]), torch.tensor(sign)

    def _without(self, pixels_BCHW: Tensor, unit: Unit, fill: Fill) -> Tensor:
        """[B, C]: a whole pass without the unit."""
        with self.without(unit, fill):
            return self.net(pixels_BCHW)

    @contextmanager
    def without(self, unit: Unit, fill: Fill) -> Iterator[None]:
        """Inside the block every pass of the network is without the unit."""
        with ExitStack() as stack:
            if unit.kind == "mlp":
                stack.enter_context(hook_after(self._mlps[unit.layer or 0], _silent))
            for layer in sorted({layer for layer, _ in unit.removed}):
                gone = self.engine.grid.positions(layer, unit.removed)
                keep_VH = keep_row(self.engine.grid.per_layer[layer], gone, rescale=self._rescale)[None]
                hook = partial(mask_heads, self._seams[layer], keep_VH, partial(fill, layer))
                stack.enter_context(hook_before(self._seams[layer].projection, hook))
            yield


def _silent(_module: nn.Module, _args: tuple[Tensor, ...], given: Tensor) -> Tensor:
    return torch.zeros_like(given)


def _mlps(net: nn.Module, engine: Engine) -> list[nn.Module]:
    """The MLP beside each attention module."""
    if isinstance(engine, Fast):
        return [block.mlp for block in seam.blocks(engine.net)]
    assert isinstance(engine, Hooked)
    return [_mlp_beside(net, place.path) for place in engine.seams]


def _mlp_beside(net: nn.Module, path: str) -> nn.Module:
    block = net.get_submodule(path.rpartition(".")[0])
    found = next((getattr(block, name) for name in MLPS if isinstance(getattr(block, name, None), nn.Module)), None)
    if found is None:
        raise MismatchError(f"--unit mlp: {type(net).__name__} has no module {' or '.join(MLPS)} beside {path}.")
    return found
