"""Some samples of a set, of which no more is fetched than they need.

A subset is spread over all tars of a set: 500 images of ImageNet are 50 MB in tars of 150 GB.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby

from vhs.formats import digests, excerpts
from vhs.formats.digests import Digests
from vhs.formats.excerpts import Excerpt
from vhs.formats.sample import Sample
from vhs.formats.shards import ShardSet
from vhs.formats.tars import CachedTars

LARGEST = 0.5
"""Share of a tar above which all of it is fetched."""


def expect(data: ShardSet, samples: Sequence[Sample]) -> None:
    """Say that these samples are read next: of tars elsewhere that hold few of them no more is fetched than these.

    A promise it is not: the tar of any other sample is fetched when that is read. In a set without digests nothing
    tells whether a sample is sound, so that all of its tars are fetched.
    """
    if isinstance(data.tars, CachedTars):
        known = data.digests
        data.tars.expect(dict(_excerpts(samples, known)) if known is not None else {})


def _excerpts(samples: Sequence[Sample], known: Digests) -> Iterator[tuple[str, Excerpt]]:
    """By names of tars, in stored order."""
    in_order = sorted(samples, key=lambda sample: sample.place)
    for entry, group in groupby(in_order, key=lambda sample: sample.tar.entry):
        of_tar = tuple(group)
        found = excerpts.ranges(part for sample in of_tar for part in sample.parts)
        excerpt = Excerpt(entry.sha256, found, partial(_are_sound, of_tar, known))
        if excerpt.bytes <= LARGEST * entry.bytes:
            yield entry.name, excerpt


def _are_sound(samples: Sequence[Sample], known: Digests, data: memoryview) -> bool:
    return all(digests.of_images(*sample.images_in(data)) == digests.of(known, sample.place) for sample in samples)
