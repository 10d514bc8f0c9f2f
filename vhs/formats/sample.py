"""One sample of a shard set, as stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vhs.formats.images import SUFFIXES
from vhs.formats.tar import Member
from vhs.formats.tars import Tar

FURTHER = ("regions.png", "bare.png")
"""Suffixes of the images that may lie beside a sample's own."""


class Sample(NamedTuple):
    """One sample as stored: id, label (-1 where there are targets), the tar it lies in and its images there by suffix,
    a value a group column, a number a target; place: its position in stored order;
    labels: all that are right, where the set has samples with several."""

    id: str
    label: int
    tar: Tar
    members: Mapping[str, Member]
    attributes: tuple[str, ...] = ()
    targets: tuple[float, ...] = ()
    place: int = 0
    labels: tuple[int, ...] = ()

    @property
    def image(self) -> memoryview:
        """The encoded image: a view of the mapped tar, which is fetched first where it lies elsewhere."""
        return self.tar.part(self._own)

    @property
    def further(self) -> dict[str, memoryview]:
        """Its other images by suffix: `regions.png`, `bare.png`."""
        return {name: self.tar.part(part) for name, part in self._further.items()}

    @property
    def parts(self) -> list[Member]:
        """Where its images lie in the tar."""
        return [self._own, *self._further.values()]

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.tar.where}: {self._own.name}"

    def images_in(self, data: memoryview) -> tuple[memoryview, dict[str, memoryview]]:
        """Its image, and its further ones by suffix. data: of its tar."""
        return self._own.of(data), {name: part.of(data) for name, part in self._further.items()}

    @property
    def _own(self) -> Member:
        return next(self.members[suffix] for suffix in SUFFIXES if suffix in self.members)

    @property
    def _further(self) -> dict[str, Member]:
        return {name: part for name, part in self.members.items() if name in FURTHER}
