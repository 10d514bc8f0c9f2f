"""Do the heads that matter here matter there? Rank correlation of importances, with its ceiling.

Two conditions that share images share their sampling errors, so the plain correlation is too high
and the classical correction for attenuation, which takes errors as independent, is wrong. The
cross-fold estimator correlates importances measured on disjoint halves of the images:

    mean[r(aA, bB), r(aB, bA)] / sqrt(r(aA, aB) * r(bA, bB)),  averaged over random halves A | B.

It holds as well where the conditions share no images (errors are independent then, and a fold left
out leaves other images out of each), so that there is one estimator and no classical one beside it.

Letters: H heads, F folds, S splits, J = 1 + F (all folds, then without each), K conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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


class Importances:
    """How much each head matters under a condition, or on average over several, on many random halves of the images.

    first, second: [J, S, H] ranks on each half, centred (within layers) and of length 1. layers: int [H] for the
    within-layer version, None for the overall one.
    """

    def __init__(self, conditions: Sequence[Counts], scale: str, *, layers: np.ndarray | None, seed: int) -> None:
        """conditions: Counts [H, F] of the same heads and folds; scale: a key of contrast.SCALES."""
        self.layers, self._seed = layers, seed
        folds = conditions[0].values.shape[-2]
        halves_SF = _halves(folds, seed)
        keep_JF = np.concatenate([np.ones((1, folds), bool), ~np.eye(folds, dtype=bool)])
        self.first, self.second = (
            np.stack([_ranks(conditions, scale, half & keep, layers) for keep in keep_JF])
            for half in (halves_SF, ~halves_SF)
        )

    @property
    def reliability_J(self) -> np.ndarray:
        """Split-half rank correlation with itself: the ceiling of any other."""
        return _mean_dot(self.first, self.second)

    @property
    def steady(self) -> bool:
        """Whether the reliability's interval is above 0."""
        return bool(jackknife(self.reliability_J[0], self.reliability_J[1:])[0] > 0)


def correlate(a: Importances, b: Importances) -> Correlation:
    """Rank correlation of head importances under two conditions; intervals are over images (fold jackknife)."""
    cross_J = (_mean_dot(a.first, b.second) + _mean_dot(a.second, b.first)) / 2
    lo, hi, _ = jackknife(cross_J[0], cross_J[1:])
    r, own_a, own_b = (float(part[0]) for part in (cross_J, a.reliability_J, b.reliability_J))
    return Correlation(
        r=r, lo=float(lo), hi=float(hi), reliability_a=own_a, reliability_b=own_b,
        disattenuated=r / float(np.sqrt(own_a * own_b)) if a.steady and b.steady else None, p=_permutation_p(a, b, r),
    )  # fmt: skip


def _permutation_p(a: Importances, b: Importances, r: float) -> float:
    """How often |r| is reached when the heads of b are permuted (within layers, where given)."""
    a1, a2, b1, b2 = a.first[0], a.second[0], b.first[0], b.second[0]
    cross_HH = (np.einsum("sh,sk->hk", a1, b2) + np.einsum("sh,sk->hk", a2, b1)) / (2 * len(a1))
    groups = np.zeros(a1.shape[1], np.int64) if a.layers is None else a.layers
    sums_P = cross_HH[np.arange(len(groups)), _orders(a._seed, tuple(groups.tolist()))].sum(1)
    return float(((np.abs(sums_P) >= abs(r) - 1e-12).sum() + 1) / (PERMUTATIONS + 1))


@lru_cache(maxsize=4)
def _orders(seed: int, groups: tuple[int, ...]) -> np.ndarray:
    """[P, H]: orders of heads, permuted within groups; the same for every pair of conditions, so drawn once."""
    rng = np.random.default_rng(hash64(seed, "permute"))
    heads = np.arange(len(groups))
    return np.stack([shuffle(heads, np.array(groups), rng) for _ in range(PERMUTATIONS)])


def _ranks(
    conditions: Sequence[Counts], scale: str, half_SF: np.ndarray, layers: np.ndarray | None
) -> np.ndarray:  # fmt: skip
    """[S, H]: ranks of the (mean) importances on each half, centred (within layers) and of length 1."""
    from scipy.stats import rankdata

    values = [
        SCALES[scale](Counts(np.einsum("sf,hfk->shk", half_SF.astype(np.int64), counts.values), counts.fields))
        for counts in conditions
    ]
    ranks = rankdata(np.mean(values, axis=0), axis=1)
    ranks = ranks - ranks.mean(1, keepdims=True) if layers is None else _centre(ranks, layers)
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


def _mean_dot(a_JSH: np.ndarray, b_JSH: np.ndarray) -> np.ndarray:
    """[J]: the mean over splits of the products of ranks."""
    return np.einsum("jsh,jsh->j", a_JSH, b_JSH) / a_JSH.shape[1]


def shuffle(heads: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`heads` permuted within groups: sorting by (group, random) after by (group, own order)."""
    order = np.lexsort((rng.random(len(heads)), groups))
    out = np.empty_like(heads)
    out[np.argsort(groups, kind="stable")] = order
    return out
