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
                yield Head(self.modules[layer] if self.modules else "attn", layer, head)

    def first(self, layer: int) -> int:
        """Position, in iteration order, of the first head of `layer`."""
        return sum(self.per_layer[:layer])
