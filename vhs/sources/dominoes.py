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
HELD = 0.3
"""Share that is held out, for val and test, of a source that has no splits."""
VAL_SHARE = 0.5
"""Share of what is held out that becomes val, the rest test, by the hash of the sample id."""


@dataclass(frozen=True)
class Dominoes:
    """What is stacked. pairs: top class and bottom class of each class; None for those of equal place in the lists.

    correlation: odds in train and val that the top image is of the bottom's class, otherwise it is of another, all
    equally likely; test_correlation: the same of `aligned` and `top-only`. val_share: of images held out, see `_parts`.
    """

    top: Sequence[Split]
    bottom: Sequence[Split]
    pairs: Sequence[tuple[str, str]] | None = None
    correlation: float = 1.0
    test_correlation: float = 1.0
    val_share: float = VAL_SHARE
    seed: int = 0

    def splits(self) -> list[Split]:
        """train and val at the correlation; of the test images `aligned` and its versions `randomised` and `top-only`;
        of val its version `val-randomised`.

        No image of one of train, val and test is in another. Randomised tops are of any class; top-only ones are the
        aligned ones above black. Every bottom image is used once.
        """
        if self.val_share != VAL_SHARE and all(_is_whole(side) for side in (self.top, self.bottom)):
            raise UsageError(
                "--val-share: both sources have train, val and test of their own; there is none to divide."
            )
        tops, bottoms = (
            _parts(splits, where, self.val_share) for splits, where in ((self.top, "--top"), (self.bottom, "--bottom"))
        )
        pairs = self._pairs(tops["train"].classes, bottoms["train"].classes)

        def made(folder: str, part: str, correlation: float, version_of: str = "") -> Split:
            split = self._split(tops[part], bottoms[part], pairs, folder, part, correlation)
            return replace(split, version_of=version_of)

        return [
            made("train", "train", self.correlation),
            made("val", "val", self.correlation),
            made("aligned", "test", self.test_correlation),
            made("randomised", "test", 1 / len(pairs), "aligned"),
            made("top-only", "test", self.test_correlation, "aligned"),
            made("val-randomised", "val", 1 / len(pairs), "val"),
        ]

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
        rng = np.random.default_rng(hash64(self.seed, NAME, folder if folder.endswith("randomised") else part))
        others = (labels + rng.integers(1, max(len(pairs), 2), len(labels))) % len(pairs)
        spurious = np.where(rng.random(len(labels)) < correlation, labels, others)
        dealt = self._dealt(top, pairs, spurious, rng)
        names = tuple(bottom.classes[label] for _, label in pairs)
        black = folder == "top-only"

        def encoded(position: int) -> bytes:
            below = _pixels(bottom, chosen[position])
            return encode_png(stack(_pixels(top, dealt[position]), below * 0 if black else below))

        name = NAME if folder == part else f"{NAME}-{folder}"
        shared = "" if self.val_share == VAL_SHARE else f":{self.val_share}"
        return Split(
            name=name, split=part, classes=names, ids=[bottom.ids[index] for index in chosen], labels=labels.tolist(),
            encoded=encoded, channels=max(top.channels, bottom.channels), folder=folder,
            fingerprint=f"{top.fingerprint}:{bottom.fingerprint}:{pairs}:{correlation}:{self.seed}:{folder}{shared}",
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
    """uint8 [2 H, W, C]: one above the other, each centred on black of the larger height and the larger width, grey
    made RGB beside RGB."""
    images = (top_HWC, bottom_HWC)
    height, width, channels = (max(image.shape[axis] for image in images) for axis in range(3))
    return np.concatenate(
        [np.broadcast_to(_centred(image, height, width), (height, width, channels)) for image in images]
    )


def _centred(image_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    below, right = height - image_HWC.shape[0], width - image_HWC.shape[1]
    return np.pad(image_HWC, ((below // 2, below - below // 2), (right // 2, right - right // 2), (0, 0)))


def _pixels(split: Split, position: int) -> np.ndarray:
    return decode(split.encoded(position), split.channels, f"{split.name}/{split.split}: {split.ids[position]}")


def _parts(splits: Sequence[Split], where: str, val_share: float) -> dict[str, Split]:
    """train, val and test of a source, disjoint: its own, or made of what it has by the hash of the sample ids.

    Of train and one more, that one is divided, val_share of it val; of a single split HELD is set aside and divided so.
    """
    own = {split.split: split for split in splits}
    if _is_whole(splits):
        return own
    if "train" in own and len(own) == 2:
        held = next(split for name, split in own.items() if name != "train")
        return {"train": own["train"]} | _by_hash(held, {"val": val_share, "test": 1 - val_share})
    if len(own) == 1:
        return _by_hash(splits[0], {"train": 1 - HELD, "val": HELD * val_share, "test": HELD * (1 - val_share)})
    raise InputError(f"{where}: has {', '.join(own)}; expected train and val, all three, or one split to be divided.")


def _is_whole(splits: Sequence[Split]) -> bool:
    return {split.split for split in splits} >= {"train", "val", "test"}


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
