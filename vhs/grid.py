"""Which heads a model has: (module, layer, head), 0-based; ragged after pruning, when heads keep their numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from vhs.errors import MismatchError, UsageError

HEAD = re.compile(r"L?(\d{1,9})(?:H|\.)(\d{1,9})", re.ASCII)
"""`L3H1`, as it is written everywhere (`3.10` would be read as a number, and be 3.1), or `3.1`, as it is typed."""


class Head(NamedTuple):
    """One attention head. `module` names the attention module inside the block; `head` is its number before any
    pruning."""

    module: str
    layer: int
    head: int

    def __str__(self) -> str:
        return head_name(self.layer, self.head)


def head_name(layer: int | str, head: int | str) -> str:
    """A head in words: `L3H1`."""
    return f"L{layer}H{head}"


class Unit(NamedTuple):
    """What is removed at once. kind: `none` (the sham), `head`, `layer` (its heads), `only` (all of a layer's heads but
    `head`), `pair` (`head` and `head_b`), `mlp` (a layer's) or `set` (named heads, of any layers: `layer` is None).

    removed: the heads that go, as (layer, head); heads are called by their numbers, everywhere.
    """

    kind: str
    layer: int | None
    head: int | None
    removed: tuple[tuple[int, int], ...]
    head_b: int | None = None


Place = tuple[int, int]
"""Layer and head."""


@dataclass(frozen=True)
class Units:
    """What an ablation removes, each in turn. kind: one of UNITS, or `set`: `sets`, the heads that go together."""

    kind: str = "head"
    sets: tuple[tuple[Place, ...], ...] = ()

    def __str__(self) -> str:
        """The kind, or the sets: `L3H1+L5H0 L2H0`."""
        return " ".join("+".join(head_name(*place) for place in part) for part in self.sets) or self.kind


HEADS = Units()


@dataclass(frozen=True)
class HeadGrid:
    """Heads per layer of one model. A layer is one attention module; modules: what each is called in its block;
    kept: of a pruned model, for each layer the numbers of its heads, ascending."""

    per_layer: tuple[int, ...]
    modules: tuple[str, ...] = ()
    kept: tuple[tuple[int, ...], ...] = ()

    @property
    def depth(self) -> int:
        return len(self.per_layer)

    def __len__(self) -> int:
        return sum(self.per_layer)

    def __iter__(self) -> Iterator[Head]:
        for layer in range(self.depth):
            yield from (Head(self.module(layer), layer, number) for number in self.numbers(layer))

    def numbers(self, layer: int) -> Sequence[int]:
        """What the heads of a layer are called, in the order in which they lie there."""
        return self.kept[layer] if self.kept else range(self.per_layer[layer])

    def positions(self, layer: int, removed: Sequence[Place]) -> list[int]:
        """Where those of `removed` that are of this layer lie in it."""
        return [self.numbers(layer).index(head) for at, head in removed if at == layer]

    def first(self, layer: int) -> int:
        """Position, in iteration order, of the first head of `layer`."""
        return sum(self.per_layer[:layer])

    def units(self, units: Units = HEADS) -> Iterator[Unit]:
        """The sham, then by layer what is removed; with `only` the empty layer too, with `pair` the single heads.

        Raises MismatchError for a head that there is not.
        """
        yield Unit("none", next((layer for layer, count in enumerate(self.per_layer) if count), 0), None, ())
        for part in units.sets:
            yield Unit("set", None, None, tuple(self._place(place) for place in part))
        for layer, count in enumerate(self.per_layer if not units.sets else ()):
            if count or units.kind == "mlp":
                yield from UNITS[units.kind](layer, self.numbers(layer))

    def in_words(self) -> str:
        """Runs of layers with equally many heads: `0-3: 4, 4-7: 8`."""
        runs, start = [], 0
        for layer in range(1, self.depth + 1):
            if layer == self.depth or self.per_layer[layer] != self.per_layer[start]:
                which = f"{start}" if layer - start == 1 else f"{start}-{layer - 1}"
                runs.append(f"{which}: {self.per_layer[start]}")
                start = layer
        return ", ".join(runs)

    def _place(self, place: Place) -> Place:
        layer, head = place
        if layer >= self.depth or head not in self.numbers(layer):
            raise MismatchError(f"there is no head {head_name(layer, head)}: the model has {self._heads_in_words}.")
        return place

    @property
    def _heads_in_words(self) -> str:
        if self.kept:
            return f"kept {', '.join(str(head) for head in self)}"
        heads = sorted(set(self.per_layer))
        each = f"{heads[0]}" if len(heads) == 1 else f"{heads[0]} to {heads[-1]}"
        return f"layers 0 to {self.depth - 1} of {each} heads"

    def module(self, layer: int) -> str:
        """What the attention module of a layer is called in its block."""
        return self.modules[layer] if self.modules else "attn"


def _heads(layer: int, heads: Sequence[int]) -> Iterator[Unit]:
    return (Unit("head", layer, head, ((layer, head),)) for head in heads)


def _layer(layer: int, heads: Sequence[int]) -> Iterator[Unit]:
    yield Unit("layer", layer, None, tuple((layer, head) for head in heads))


def _only(layer: int, heads: Sequence[int]) -> Iterator[Unit]:
    yield from _layer(layer, heads)
    for head in heads:
        yield Unit("only", layer, head, tuple((layer, other) for other in heads if other != head))


def _pairs(layer: int, heads: Sequence[int]) -> Iterator[Unit]:
    yield from _heads(layer, heads)
    yield from (Unit("pair", layer, a, ((layer, a), (layer, b)), b) for a, b in combinations(heads, 2))


def _mlp(layer: int, _heads: Sequence[int]) -> Iterator[Unit]:
    yield Unit("mlp", layer, None, ())


UNITS: dict[str, Callable[[int, Sequence[int]], Iterator[Unit]]] = {
    "head": _heads,
    "layer": _layer,
    "only": _only,
    "pair": _pairs,
    "mlp": _mlp,
}
"""Kind of unit -> those of one layer of these heads."""


def named_sets(texts: Sequence[str]) -> Units:
    """`L3H1,L5H0` and `2.0` -> the sets ((3, 1), (5, 0)) and ((2, 0),). Raises UsageError for anything else."""
    found = []
    for text in texts:
        names = [HEAD.fullmatch(word) for word in re.split("[,+]", text)]
        if not all(names):
            raise UsageError(f"{text}: expected heads like L3H1,L5H0 or 3.1,5.0 (layer and head, from 0).")
        found.append(tuple(sorted({(int(match[1]), int(match[2])) for match in names if match})))
    return Units("set", tuple(found))
