"""What is tallied of a network's heads, listed in the order of the tallies, so that rows need the list and no network.

No torch: a list travels with tallies in files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from vhs.grid import Head, HeadGrid


class Quantity(NamedTuple):
    """What a value is, of every head of a layer: the columns of the heads table that name it."""

    metric: str
    query: str
    unit: str = "1"
    of: str | None = None
    weighting: str = "attention"


class Rank(NamedTuple):
    """What is known of a head's weights without an image. place: of the head in the grid."""

    place: int
    metric: str
    value: float


class RegionRow(NamedTuple):
    """A row of regions before its numbers. place: of the head in the grid."""

    place: int
    query: str
    weighting: str
    region: str


class Placed(NamedTuple):
    """A layer whose tokens have places, and which of its queries are patches."""

    layer: int
    query: str


@dataclass(frozen=True)
class Group:
    """Layers whose heads are compared. heads: their places in the grid; jsd, alike: where its pairs begin in the
    tallies, None for layers whose outputs are not compared."""

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    jsd: int
    alike: int | None

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Places in `heads` of each two, in the order of the tallies."""
        count = len(self.heads)
        return [(a, b) for a in range(count) for b in range(a + 1, count)]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What one specialization tallies. means: (layer, quantity), each of all heads of the layer; disagreement: pairs
    of places in the grid."""

    grid: HeadGrid
    means: tuple[tuple[int, Quantity], ...]
    placed: tuple[Placed, ...]
    groups: tuple[Group, ...]
    disagreement: tuple[tuple[int, int], ...]
    ranks: tuple[Rank, ...]
    regions: tuple[RegionRow, ...]

    def entries(self) -> Iterator[tuple[Head, Quantity]]:
        """What each mean is of."""
        heads = list(self.grid)
        for layer, quantity in self.means:
            first = self.grid.first(layer)
            yield from ((head, quantity) for head in heads[first : first + self.grid.per_layer[layer]])

    def looking(self) -> list[tuple[Head, str]]:
        """Each head of a layer whose tokens have places, and its queries."""
        return [(head, part.query) for part in self.placed for head in self.grid if head.layer == part.layer]

    def jsd_pairs(self) -> list[tuple[int, int]]:
        """Places of each pair in the grid, in the order of the tally."""
        return [(group.heads[a], group.heads[b]) for group in self.groups for a, b in group.pairs]

    def alike_pairs(self) -> list[tuple[int, int]]:
        """The same, of the pairs whose outputs are compared."""
        return [(g.heads[a], g.heads[b]) for g in self.groups if g.alike is not None for a, b in g.pairs]

    def lonely(self) -> list[bool]:
        """Of each head whether it is alone in its layer."""
        return [count == 1 for count in self.grid.per_layer for _ in range(count)]


class Facing(NamedTuple):
    """Two layers of two models whose heads are compared, and where their pairs begin in the tally: by head, then by
    other head."""

    layer: int
    other: int
    first: int


@dataclass(frozen=True)
class Matchings:
    """What one matching tallies. own, other: the heads of both models."""

    own: HeadGrid
    other: HeadGrid
    blocks: tuple[Facing, ...]
