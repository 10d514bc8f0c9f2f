"""Which heads are dispensable one at a time, and whether they differ at all.

Letters: H heads, F folds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vhs.counts import Counts
from vhs.errors import UsageError
from vhs.measures.intervals import bonett_price
from vhs.seeds import hash64

PERMUTATIONS = 2000


class Redundancy(NamedTuple):
    """Heads shown to be below the tolerance, shown to be above it, and neither; and p that all are equal."""

    redundant: int
    needed: int
    undecided: int
    equal_p: float


def redundancy(sums: Counts, tolerance: float, *, seed: int = 0) -> Redundancy:
    """Count heads by their 95 % interval of the drop in accuracy against `tolerance`, a fraction.

    sums: Counts [H, F]. "Not significant" is not "redundant": a head counts as redundant when the upper
    bound of its drop lies below the tolerance, an equivalence statement (one-sided at 2.5 %).
    Raises UsageError for a tolerance outside 0 to 1.
    """
    if not 0 <= tolerance <= 1:
        raise UsageError(f"tolerance is {tolerance:g}; expected a share of all answers, such as .005 for half a point.")
    lo, hi = bonett_price(sums.total("n_lost"), sums.total("n_gained"), sums.total("n"))
    redundant, needed = int((hi < tolerance).sum()), int((lo > tolerance).sum())
    return Redundancy(redundant, needed, len(lo) - redundant - needed, equality_p(sums, seed=seed))


def equality_p(sums: Counts, *, seed: int = 0) -> float:
    """p that all heads have the same drop: how often their variance is reached when heads are permuted within folds.

    A fold's answers may depend on the fold, not, if the hypothesis holds, on the name of the head.
    """
    net_HF = sums["n_lost"] - sums["n_gained"]
    rng = np.random.default_rng(hash64(seed, "equal"))
    observed = net_HF.sum(1).var()
    hits = sum(rng.permuted(net_HF, axis=0).sum(1).var() >= observed - 1e-12 for _ in range(PERMUTATIONS))
    return float((hits + 1) / (PERMUTATIONS + 1))
