"""Which heads a model has: (module, layer, head), 0-based; ragged after pruning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Head(NamedTuple):
    """One attention head. `module` names the attention module inside the block."""

    module: str
    layer: int
    head: int

    def __str__(self) -> str:
        return f"{self.layer}.{self.head}"


class Unit(NamedTuple):
    """What is removed at once. kind: `none` (the sham), `head`, `layer`, or `only` (all of a layer but `head`)."""

    kind: str
    layer: int
    head: int | None
    removed: tuple[int, ...]


UNITS = ("head", "layer", "only")


@dataclass(frozen=True)
class HeadGrid:
    """Heads per layer of one model. A layer is one attention module; modules: what each is called in its block."""

    per_layer: tuple[int, ...]
    modules: tuple[str, ...] = ()

    @classmethod
    def of(cls, per_layer: Sequence[int]) -> HeadGrid:
        return cls(tuple(int(count) for count in per_layer))

    @property
    def depth(self) -> int:
        return len(self.per_layer)

    def __len__(self) -> int:
        return sum(self.per_layer)

    def __iter__(self) -> Iterator[Head]:
        for layer, count in enumerate(self.per_layer):
            for head in range(count):
                yield Head(self.module(layer), layer, head)

    def first(self, layer: int) -> int:
        """Position, in iteration order, of the first head of `layer`."""
        return sum(self.per_layer[:layer])

    def units(self, kind: str = "head") -> Iterator[Unit]:
        """The sham, then by layer what `kind` removes; with `only` the empty layer too, its measure."""
        yield Unit("none", 0, None, ())
        for layer, count in enumerate(self.per_layer):
            every = tuple(range(count))
            if kind == "head":
                yield from (Unit("head", layer, head, (head,)) for head in every)
            else:
                yield Unit("layer", layer, None, every)
            if kind == "only":
                yield from (Unit("only", layer, head, every[:head] + every[head + 1 :]) for head in every)

    def module(self, layer: int) -> str:
        """What the attention module of a layer is called in its block."""
        return self.modules[layer] if self.modules else "attn"
