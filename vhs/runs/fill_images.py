"""Images that fills are made of: a hashed part of the training split, never a scored sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from vhs.errors import MismatchError
from vhs.formats.atomic import sha256
from vhs.formats.sample import Sample
from vhs.formats.shards import ShardSet
from vhs.runs import cache, ranks
from vhs.seeds import nested_order
from vhs.world import WHOLE, Part, world

if TYPE_CHECKING:
    from vhs.progress import Note

SAMPLES = 512
BATCH = 32
TWICE = 0.02
"""Share of the images that may be scored too (data sets have some images twice); they are left out."""
AT_ONCE = 4096
SPOTS = 256
"""Values of an image that are compared before all are."""


@dataclass(frozen=True)
class FillImages:
    """batches: uint8, equally large; name: what tables call them; ids, and a hash of these."""

    batches: Sequence[torch.Tensor]
    name: str
    ids: tuple[str, ...]

    @property
    def hash(self) -> str:
        return sha256("\n".join(self.ids).encode())[:16]


@dataclass(frozen=True)
class Scored:
    """What a run scores: the set, how many samples of it are chosen by which seed, and this rank's of them.

    part: which of several jobs on the run this is, of which each compares all that are scored.
    """

    source: ShardSet
    max_samples: int | None
    seed: int
    data: cache.Decoded
    part: Part = WHOLE

    def decoded(self, *, skip_bad: bool) -> Iterator[cache.Decoded]:
        """All that are scored, whatever the part: this rank's share of them, some thousands at a time."""
        if self.part.count == 1:
            yield self.data
            return
        rank, ranks = world()
        source = replace(self.source, verify=False)  # a part has its own verified
        mine = cache.choose(source, self.max_samples, self.seed)[rank::ranks]
        pieces = -(-len(mine) // AT_ONCE)
        for piece in range(pieces):
            yield cache.decode(source, mine[piece::pieces], skip_bad=skip_bad)


def collect(source: ShardSet, scored: Scored, *, skip_bad: bool, note: Note) -> FillImages:
    """The SAMPLES of `source` that come first in its nested order (by the run's seed), at the evaluation geometry.

    Raises MismatchError when one of them is scored: by its id in a set of the same name, or by its pixels.
    """
    chosen = cache.choose(source, SAMPLES, scored.seed)
    _check_ids(source, chosen, scored)
    decoded = cache.decode(source, chosen, skip_bad=skip_bad)
    kept = _find_unscored(decoded, scored.decoded(skip_bad=skip_bad), note)
    batch = min(BATCH, len(kept))
    order = nested_order(decoded.keys_N.numpy().view(np.uint64)[kept], decoded.labels_N.numpy()[kept], scored.seed)
    used = kept[np.sort(order[: len(order) // batch * batch])]  # equal batches, and what is left out is of any class
    name = f"{source.manifest.name}/{source.manifest.split} clean, {len(used)} images"
    batches = decoded.images_NCHW[torch.from_numpy(used)].split(batch)
    return FillImages(batches, name, tuple(decoded.ids[index] for index in used))


def _check_ids(source: ShardSet, chosen: Sequence[Sample], scored: Scored) -> None:
    """Equal ids mean equal images where the sets have one name and split."""
    if (source.manifest.name, source.manifest.split) != (scored.source.manifest.name, scored.source.manifest.split):
        return
    taken = {sample.id for sample in cache.choose(scored.source, scored.max_samples, scored.seed)}
    both = next((sample.id for sample in chosen if sample.id in taken), None)
    if both:
        raise MismatchError(f"{source.folder}: {both} would be fill image and scored image. Name other --fill-data.")


def _find_unscored(decoded: cache.Decoded, scored: Iterable[cache.Decoded], note: Note) -> np.ndarray:
    """Positions of the images that are not scored under other ids; a few may be in both splits of a data set.

    Raises MismatchError where more than TWICE of them are scored.
    """
    places = {spots: place for place, spots in enumerate(_spots(decoded))}
    found = set()
    for part in scored:
        if decoded.images_NCHW.shape[1:] != part.images_NCHW.shape[1:]:
            break
        for image, spots in zip(part.images_NCHW, _spots(part), strict=False):
            place = places.get(spots)
            if place is not None and torch.equal(image, decoded.images_NCHW[place]):
                found.add(place)
    both = sorted(set(ranks.gather(sorted(found))))
    where = decoded.manifest.name
    if len(both) > TWICE * len(decoded):
        raise MismatchError(
            f"{where}: {len(both)} of its {len(decoded)} fill images, such as {decoded.ids[both[0]]}, are scored too, "
            f"under these or other ids. Name other --fill-data."
        )
    if both:
        note(f"{where}: {len(both)} fill images are scored too and are left out")
    return np.setdiff1d(np.arange(len(decoded)), both)


def _spots(decoded: cache.Decoded) -> list[bytes]:
    """About SPOTS values of each image, by which few unlike ones look alike."""
    values_NP = decoded.images_NCHW.flatten(1)
    return [row.tobytes() for row in values_NP[:, :: max(1, values_NP.shape[1] // SPOTS)].numpy()]
