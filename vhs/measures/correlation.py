"""Do the heads that matter here matter there? Rank correlation of importances, with its ceiling.

Two conditions that share images share their sampling errors, so the plain correlation is too high
and the classical correction for attenuation, which takes errors as independent, is wrong. The
cross-fold estimator correlates importances measured on disjoint halves of the images:

    mean[r(aA, bB), r(aB, bA)] / sqrt(r(aA, aB) * r(bA, bB)),  averaged over random halves A | B.

It holds as well where the conditions share no images (errors are independent then, and a fold left
out leaves other images out of each), so that there is one estimator and no classical one beside it.

Letters: H heads, F folds, S splits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vhs.counts import Counts
from vhs.measures.contrast import SCALES
from vhs.measures.intervals import jackknife
from vhs.seeds import hash64

SPLITS = 100
PERMUTATIONS = 2000


@dataclass(frozen=True)
class Correlation:
    """r: cross-fold rank correlation, attenuated by half-sample noise. reliability_a, _b: split-half
    rank correlations of each condition with itself. disattenuated: r over the geometric mean of the
    reliabilities, None where an interval of either touches 0. p: heads permuted, two-sided."""

    r: float
    lo: float
    hi: float
    reliability_a: float
    reliability_b: float
    disattenuated: float | None
    p: float


def correlate(a: Counts, b: Counts, scale: str, *, layers: np.ndarray | None, seed: int) -> Correlation:
    """Rank correlation of head importances under conditions a and b.

    a, b: Counts [H, F] of the same heads and folds. scale: a key of contrast.SCALES. layers: int [H]
    for the within-layer version (ranks are centred within layers and permuted there), None for the
    overall one. Intervals are over images (fold jackknife).
    """
    halves = _halves(a.values.shape[-2], seed)
    statistic = _Statistic(SCALES[scale], a, b, layers)
    whole = statistic(halves)
    folds = range(a.values.shape[-2])
    left_out = np.array([statistic(halves, without=fold) for fold in folds])
    lo, hi, _ = jackknife(whole, left_out)
    r, own_a, own_b = whole
    steady = lo[1] > 0 and lo[2] > 0
    return Correlation(
        r=float(r), lo=float(lo[0]), hi=float(hi[0]), reliability_a=float(own_a), reliability_b=float(own_b),
        disattenuated=float(r / np.sqrt(own_a * own_b)) if steady else None,
        p=statistic.permutation_p(halves, float(r), seed),
    )  # fmt: skip


@dataclass(frozen=True)
class _Statistic:
    value: Callable[[Counts], np.ndarray]
    a: Counts
    b: Counts
    layers: np.ndarray | None

    def __call__(self, halves_SF: np.ndarray, without: int | None = None) -> np.ndarray:
        """[3]: cross-fold r, reliability of a, reliability of b."""
        keep = np.ones(halves_SF.shape[1], bool)
        if without is not None:
            keep[without] = False
        a1, a2 = (self._ranks(self.a, half & keep) for half in (halves_SF, ~halves_SF))
        b1, b2 = (self._ranks(self.b, half & keep) for half in (halves_SF, ~halves_SF))
        cross = (_dot(a1, b2) + _dot(a2, b1)) / 2
        return np.array([cross.mean(), _dot(a1, a2).mean(), _dot(b1, b2).mean()])

    def permutation_p(self, halves_SF: np.ndarray, r: float, seed: int) -> float:
        """How often |r| is reached when the heads of b are permuted (within layers, where given)."""
        rng = np.random.default_rng(hash64(seed, "permute"))
        a1, a2 = self._ranks(self.a, halves_SF), self._ranks(self.a, ~halves_SF)
        b1, b2 = self._ranks(self.b, halves_SF), self._ranks(self.b, ~halves_SF)
        cross_HH = (np.einsum("sh,sk->hk", a1, b2) + np.einsum("sh,sk->hk", a2, b1)) / (2 * len(a1))
        heads = np.arange(a1.shape[1])
        groups = np.zeros_like(heads) if self.layers is None else self.layers
        hits = sum(
            abs(cross_HH[heads, _shuffle(heads, groups, rng)].sum()) >= abs(r) - 1e-12 for _ in range(PERMUTATIONS)
        )
        return float((hits + 1) / (PERMUTATIONS + 1))

    def _ranks(self, counts: Counts, half_SF: np.ndarray) -> np.ndarray:
        """[S, H]: ranks of the importances on each half, centred (within layers) and of length 1."""
        from scipy.stats import rankdata

        sums = np.einsum("sf,hfk->shk", half_SF.astype(np.int64), counts.values)
        ranks = rankdata(self.value(Counts(sums, counts.fields)), axis=1)
        ranks = ranks - ranks.mean(1, keepdims=True) if self.layers is None else _centre(ranks, self.layers)
        length = np.linalg.norm(ranks, axis=1, keepdims=True)
        return np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)


def _halves(folds: int, seed: int) -> np.ndarray:
    """bool [S, F]: random halves of the folds."""
    rng = np.random.default_rng(hash64(seed, "halves"))
    return rng.permuted(np.tile(np.arange(folds) < folds // 2, (SPLITS, 1)), axis=1)


def _centre(ranks_SH: np.ndarray, layers_H: np.ndarray) -> np.ndarray:
    out = ranks_SH.copy()
    for layer in np.unique(layers_H):
        inside = layers_H == layer
        out[:, inside] -= out[:, inside].mean(1, keepdims=True)
    return out


def _dot(a_SH: np.ndarray, b_SH: np.ndarray) -> np.ndarray:
    return (a_SH * b_SH).sum(1)


def _shuffle(heads: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`heads` permuted within groups: sorting by (group, random) after by (group, own order)."""
    order = np.lexsort((rng.random(len(heads)), groups))
    out = np.empty_like(heads)
    out[np.argsort(groups, kind="stable")] = order
    return out
