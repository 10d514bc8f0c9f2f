"""Dominoes: two labelled images stacked, the top one a shortcut to the class of the bottom one.

Shah et al. 2020 (arXiv:2006.07710) stack MNIST on CIFAR-10; DiverseViT (arXiv:2308.16274) measures heads on it.
The label, and the attribute `robust`, is the bottom image's class; `spurious` the class the top image stands for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vhs.errors import InputError, UsageError
from vhs.formats.images import decode, encode_png
from vhs.formats.split import Split, subset
from vhs.seeds import hash64, sample_keys

NAME = "dominoes"
SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
"""Parts of a source that has no splits, by the hash of the sample id."""


@dataclass(frozen=True)
class Dominoes:
    """What is stacked. pairs: top class and bottom class of each class; None for those of equal place in the lists.

    correlation: odds that the top image is of the bottom's class, otherwise it is of another, all equally likely.
    """

    top: Sequence[Split]
    bottom: Sequence[Split]
    pairs: Sequence[tuple[str, str]] | None = None
    correlation: float = 1.0
    seed: int = 0

    def splits(self) -> list[Split]:
        """train and val at the correlation; of the test images `aligned` and its versions `randomised` and `top-only`.

        No image of one of train, val and test is in another. Randomised tops are of any class; top-only ones are the
        aligned ones above black. Every bottom image is used once.
        """
        tops, bottoms = _parts(self.top, "--top"), _parts(self.bottom, "--bottom")
        pairs = self._pairs(tops["train"].classes, bottoms["train"].classes)
        made = [
            self._split(tops[part], bottoms[part], pairs, part, part, self.correlation) for part in ("train", "val")
        ]
        aligned = self._split(tops["test"], bottoms["test"], pairs, "aligned", "test", 1.0)
        randomised = self._split(tops["test"], bottoms["test"], pairs, "randomised", "test", 1 / len(pairs))
        alone = self._split(tops["test"], bottoms["test"], pairs, "top-only", "test", 1.0)
        return [*made, aligned, *(replace(part, version_of="aligned") for part in (randomised, alone))]

    def _pairs(self, tops: Sequence[str], bottoms: Sequence[str]) -> list[tuple[int, int]]:
        if self.pairs is None:
            return [(place, place) for place in range(min(len(tops), len(bottoms)))]
        for place in (0, 1):
            if len({pair[place] for pair in self.pairs}) < len(self.pairs):
                raise UsageError("--pairs: a class stands in two pairs; expected each once.")
        for names, side, known in ((0, "--top", tops), (1, "--bottom", bottoms)):
            unknown = next((pair[names] for pair in self.pairs if pair[names] not in known), None)
            if unknown is not None:
                raise UsageError(f"--pairs: {unknown} is no class of {side}, which has {', '.join(known[:12])}.")
        return [(tops.index(top), bottoms.index(bottom)) for top, bottom in self.pairs]

    def _split(
        self, top: Split, bottom: Split, pairs: list[tuple[int, int]], folder: str, part: str, correlation: float
    ) -> Split:
        """One set. Bottom images keep their order; a class's top images are dealt in a drawn order, again if short."""
        place = {label: index for index, (_, label) in enumerate(pairs)}
        chosen = [index for index, label in enumerate(bottom.labels) if label in place]
        labels = np.array([place[bottom.labels[index]] for index in chosen])
        rng = np.random.default_rng(hash64(self.seed, NAME, folder if folder == "randomised" else part))
        others = (labels + rng.integers(1, max(len(pairs), 2), len(labels))) % len(pairs)
        spurious = np.where(rng.random(len(labels)) < correlation, labels, others)
        dealt = self._dealt(top, pairs, spurious, rng)
        names = tuple(bottom.classes[label] for _, label in pairs)
        black = folder == "top-only"

        def encoded(position: int) -> bytes:
            below = _pixels(bottom, chosen[position])
            return encode_png(stack(_pixels(top, dealt[position]), below * 0 if black else below))

        name = f"{NAME}-{folder}" if part == "test" else NAME
        return Split(
            name=name, split=part, classes=names, ids=[bottom.ids[index] for index in chosen], labels=labels.tolist(),
            encoded=encoded, channels=max(top.channels, bottom.channels), folder=folder,
            fingerprint=f"{top.fingerprint}:{bottom.fingerprint}:{pairs}:{correlation}:{self.seed}:{folder}",
            source=f"{top.source} on {bottom.source}", licence=f"{top.licence}; {bottom.licence}".strip("; "),
            attributes={
                "spurious": [names[index] for index in spurious], "robust": [names[index] for index in labels],
            }, extra={"correlation": correlation, "seed": self.seed},
        )  # fmt: skip

    def _dealt(
        self, top: Split, pairs: list[tuple[int, int]], spurious: np.ndarray, rng: np.random.Generator
    ) -> list[int]:
        found = np.zeros(len(spurious), int)
        for index, (label, _) in enumerate(pairs):
            own = np.flatnonzero(np.array(top.labels) == label)
            wanted = np.flatnonzero(spurious == index)
            if not len(own) and len(wanted):
                raise InputError(f"--top: has no {top.split} image of class {top.classes[label]}.")
            rounds = -(-len(wanted) // max(len(own), 1))
            found[wanted] = np.concatenate([rng.permutation(own) for _ in range(rounds)] or [own])[: len(wanted)]
        return found.tolist()


def stack(top_HWC: np.ndarray, bottom_HWC: np.ndarray) -> np.ndarray:
    """uint8: one above the other; the narrower centred on black, grey made RGB beside RGB."""
    channels = max(top_HWC.shape[-1], bottom_HWC.shape[-1])
    width = max(top_HWC.shape[1], bottom_HWC.shape[1])
    parts = []
    for image in (top_HWC, bottom_HWC):
        left = (width - image.shape[1]) // 2
        wide = np.pad(image, ((0, 0), (left, width - image.shape[1] - left), (0, 0)))
        parts.append(np.broadcast_to(wide, (*wide.shape[:2], channels)) if wide.shape[-1] < channels else wide)
    return np.concatenate(parts)


def _pixels(split: Split, position: int) -> np.ndarray:
    return decode(split.encoded(position), split.channels, f"{split.name}/{split.split}: {split.ids[position]}")


def _parts(splits: Sequence[Split], where: str) -> dict[str, Split]:
    """train, val and test of a source, disjoint: its own, or made of what it has by the hash of the sample ids."""
    own = {split.split: split for split in splits}
    if set(own) >= {"train", "val", "test"}:
        return own
    if "train" in own and len(own) == 2:
        held = next(split for name, split in own.items() if name != "train")
        half = _by_hash(held, {"val": 0.5, "test": 0.5})
        return {"train": own["train"]} | half
    if len(own) == 1:
        return _by_hash(splits[0], SHARES)
    raise InputError(f"{where}: has {', '.join(own)}; expected train and val, all three, or one split to be divided.")


def _by_hash(split: Split, shares: dict[str, float]) -> dict[str, Split]:
    draws = np.array([hash64("part", int(key)) / 2**64 for key in sample_keys(split.ids)])
    ends = np.cumsum(list(shares.values()))
    place = np.minimum(np.searchsorted(ends, draws, side="right"), len(ends) - 1)
    return {
        name: replace(
            subset(split, np.flatnonzero(place == index).tolist()),
            split=name,
            fingerprint=f"{split.fingerprint}:{name}",
        )
        for index, name in enumerate(shares)
    }
