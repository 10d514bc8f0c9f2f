"""Part of a tar that lies elsewhere, without the rest of it.

A file that is as long as the tar and has holes, so that everything lies in it where it lies in the tar. Not the tar's
hash says whether it is sound, but the digests of the samples in it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from vhs.formats.atomic import sha256
from vhs.formats.tar import Member

GAP = 1 << 16
"""Bytes between two samples that are fetched along with them: about what one more request costs."""


@dataclass(frozen=True)
class Excerpt:
    """tar: its sha256; ranges: (begin, end) of what is wanted of it, ascending and apart; is_sound: whether bytes that
    lie as in the tar are right in these ranges."""

    tar: str
    ranges: tuple[tuple[int, int], ...]
    is_sound: Callable[[memoryview], bool]

    @property
    def bytes(self) -> int:
        """How many are wanted."""
        return sum(end - begin for begin, end in self.ranges)

    @cached_property
    def name(self) -> str:
        """What tells it from all others, as a sha256."""
        return sha256(f"{self.tar} {self.ranges}".encode())

    def holds(self, member: Member) -> bool:
        """Whether the member's bytes are among those wanted."""
        place = bisect_right(self.ranges, member.offset, key=lambda found: found[0]) - 1
        return place >= 0 and member.offset + member.size <= self.ranges[place][1]


def ranges(members: Iterable[Member]) -> tuple[tuple[int, int], ...]:
    """Where members lie, in order, those that are near each other as one range."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted((part.offset, part.offset + part.size) for part in members):
        if found and begin <= found[-1][1] + GAP:
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((begin, end))
    return tuple(found)
