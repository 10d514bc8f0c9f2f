"""What a pruning run has measured, and the groups of conditions that means and hypotheses are about.

Letters: N samples, V networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.grid import Place
from vhs.measures import intervals
from vhs.summaries.tallied import Row, number

CHOOSING, REPORTING = tuple(range(7)), tuple(range(7, 20))
"""Folds whose images choose heads, and whose images tell what was lost by it."""
PARTS = {"choose": CHOOSING, "report": REPORTING}
CONDITION, CORRUPTION, MEAN = "condition", "corruption", "mean"
ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A point of an order. heads_left: of all; removed: the heads that are gone, sorted; new: those since the point
    before; network: which of the networks it is; sizes: parameters, flops, images_per_s."""

    order: str
    round: int
    heads_left: int
    removed: tuple[Place, ...]
    new: tuple[Place, ...]
    network: int = 0
    sizes: Mapping[str, Any] | None = None

    @property
    def flops(self) -> int:
        """Of a pass over one image."""
        assert self.sizes is not None
        return int(self.sizes["flops"])


@dataclass(frozen=True)
class Measured:
    """One condition. keys: the columns it begins with; counted: whether means and certificates are of it; folds_N: -1
    of samples that were not measured; right_VN: bool; network 0 is the whole model."""

    keys: Row
    counted: bool
    ids: tuple[str, ...]
    folds_N: np.ndarray
    sums: Counts
    bins: Counts
    right_VN: np.ndarray

    @property
    def name(self) -> str:
        """`gaussian_noise:3`, or the set."""
        return f"{self.keys['corruption']}:{self.keys['severity']}" if self.keys["corruption"] else self.keys["shift"]

    def of_part(self, part: str) -> np.ndarray:
        """bool [N]."""
        return np.isin(self.folds_N, PARTS[part])

    def losses(self, network: int) -> np.ndarray:
        """int8 [N]: 1 where the whole model alone is right, -1 where it alone is wrong."""
        return np.asarray(self.right_VN[0].astype(np.int8) - self.right_VN[network], np.int8)


@dataclass(frozen=True)
class Group:
    """What one hypothesis is about: a condition, or conditions on the same images. over: as the table names it."""

    over: str
    keys: Row
    members: Sequence[Measured]

    @property
    def name(self) -> str:
        """Of a condition its own, of a mean what it is over."""
        if self.over == CONDITION:
            return self.members[0].name
        return str(self.keys["corruption"] or self.keys["shift"])

    def losses(self, network: int, part: str) -> np.ndarray:
        """[N of the part]: of each image the mean over conditions of answers lost less gained."""
        return self._total(network, part) / len(self.members)

    def accuracy(self, network: int, part: str) -> Row:
        """top1 and drop with intervals over images, which all conditions share."""
        inside, count = self.members[0].of_part(part), len(self.members)
        right = np.sum([member.right_VN[network, inside] for member in self.members], axis=0, dtype=np.int64)
        lost = self._total(network, part)
        n = len(lost)
        half = intervals.z_value() * right.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        lo, hi = intervals.signed_interval(lost.sum(), (lost**2).sum(), n)
        mean = right.sum() / n
        return {
            "n": n, "top1": mean / count, "top1_lo": number(max(mean - half, 0) / count),
            "top1_hi": number(min(mean + half, count) / count), "drop": float(lost.sum()) / n / count,
            "drop_lo": float(lo) / count, "drop_hi": float(hi) / count,
        }  # fmt: skip

    def _total(self, network: int, part: str) -> np.ndarray:
        inside = self.members[0].of_part(part)
        return np.asarray(np.sum([member.losses(network)[inside] for member in self.members], axis=0, dtype=np.int64))


def groups_of(measured: Sequence[Measured], over: str) -> list[Group]:
    """What is bounded. Raises MismatchError for means of conditions on other images."""
    counted = [member for member in measured if member.counted]
    if over == "worst":
        return [Group(CONDITION, member.keys, [member]) for member in counted]
    _check_same(counted, over)
    if over == MEAN:
        return [mean_of(counted)]
    return [Group(CORRUPTION, _keys_of(members), members) for members in _by_corruption(counted).values()]


def mean_of(members: Sequence[Measured]) -> Group:
    keys = members[0].keys | {"shift": ALL, "category": None, "corruption": None, "severity": 0}
    return Group(MEAN, keys, members)


def _by_corruption(counted: Sequence[Measured]) -> dict[str, list[Measured]]:
    found: dict[str, list[Measured]] = {}
    for member in counted:
        found.setdefault(member.keys["corruption"] or member.keys["shift"], []).append(member)
    return found


def _keys_of(members: Sequence[Measured]) -> Row:
    return members[0].keys | {"severity": 0}


def same_images(counted: Sequence[Measured]) -> bool:
    return all(member.ids == counted[0].ids and (member.folds_N == counted[0].folds_N).all() for member in counted)


def _check_same(counted: Sequence[Measured], over: str) -> None:
    if not same_images(counted):
        odd = next(member.name for member in counted if not same_images([counted[0], member]))
        raise MismatchError(
            f"--over {over}: {odd} was measured on other images than {counted[0].name}, so that no image has a mean. "
            f"Take --over worst."
        )
