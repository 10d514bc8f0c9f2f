"""How a measure of heads goes with their importance: rank correlation, what it adds to depth, intervals over heads.

Letters: H heads, M measures, P permutations.
"""

from __future__ import annotations

import numpy as np

from vhs.measures.correlation import shuffle
from vhs.measures.intervals import z_value
from vhs.seeds import hash64

PERMUTATIONS = 2000


def ranks(values_MH: np.ndarray, layers_H: np.ndarray | None = None) -> np.ndarray:
    """float64 [M, H]: ranks, centred (within layers) and of length 1; 0 where all are equal."""
    from scipy.stats import rankdata

    found = rankdata(values_MH, axis=-1)
    groups = np.zeros(found.shape[-1], int) if layers_H is None else layers_H
    for group in np.unique(groups):
        inside = groups == group
        found[..., inside] -= found[..., inside].mean(-1, keepdims=True)
    length = np.linalg.norm(found, axis=-1, keepdims=True)
    return np.divide(found, length, out=np.zeros_like(found), where=length > 1e-9)


def rank_interval(r: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(lo, hi) of Spearman's r over heads: Fisher's z with the error of Bonett and Wright 2000,
    sqrt((1 + r²/2) / (H - 3)), the heads taken as a sample. NaN for fewer than five heads."""
    if count < 5:
        return np.full_like(r, np.nan), np.full_like(r, np.nan)
    z, half = np.arctanh(np.clip(r, -0.999999, 0.999999)), z_value() * np.sqrt((1 + r**2 / 2) / (count - 3))
    return np.tanh(z - half), np.tanh(z + half)


def permutation_p(
    measure_MH: np.ndarray, importance_H: np.ndarray, layers_H: np.ndarray | None, seed: int
) -> np.ndarray:
    """[M], two-sided: how often |r| is reached when heads are permuted (within layers), of ranks as `ranks` gives."""
    rng = np.random.default_rng(hash64(seed, "association"))
    heads = np.arange(len(importance_H))
    groups = np.zeros_like(heads) if layers_H is None else layers_H
    permuted_PH = np.stack([importance_H[shuffle(heads, groups, rng)] for _ in range(PERMUTATIONS)])
    r_M = measure_MH @ importance_H
    hits_M = (np.abs(permuted_PH @ measure_MH.T) >= np.abs(r_M) - 1e-12).sum(0)
    return (hits_M + 1) / (PERMUTATIONS + 1)


def added(measure_H: np.ndarray, importance_H: np.ndarray, layers_H: np.ndarray) -> tuple[float, float, float]:
    """(R² of the layer index, what the measure adds to it, p of that): regressions of the importances' ranks on the
    layer index, then on that and the measure's ranks. p by F with 1 and H - 3 degrees of freedom."""
    from scipy.special import fdtrc
    from scipy.stats import rankdata

    y, x, depth = (part - part.mean() for part in (rankdata(importance_H), rankdata(measure_H), layers_H.astype(float)))
    whole = y @ y
    if whole == 0:
        return 0.0, 0.0, 1.0
    of_layer = (depth @ y) ** 2 / (depth @ depth) / whole if depth @ depth > 0 else 0.0
    rest = x - (depth @ x) / (depth @ depth) * depth if depth @ depth > 0 else x
    more = (rest @ y) ** 2 / (rest @ rest) / whole if rest @ rest > 1e-9 * (x @ x) else 0.0
    left = max(1 - of_layer - more, 1e-12)
    freedom = len(y) - (3 if depth @ depth > 0 else 2)
    return float(of_layer), float(more), float(fdtrc(1, freedom, more / left * freedom)) if freedom > 0 else 1.0


def reliability(value_H: np.ndarray, lo_H: np.ndarray, hi_H: np.ndarray) -> float:
    """Of a measure known with 95 % intervals: the share of its variance over heads that is not sampling error, 0 to 1;
    NaN without intervals or variance."""
    error = (hi_H - lo_H) / 2 / z_value()
    spread = value_H.var(ddof=1) if len(value_H) > 1 else 0.0
    return float(np.clip(1 - np.mean(error**2) / spread, 0, 1)) if spread > 0 else float("nan")


def gini(values: np.ndarray) -> np.ndarray:
    """How unequal the values of the last axis are: 0 all alike, towards 1 one has all; below 0 counts as 0."""
    ordered = np.sort(np.maximum(values, 0), axis=-1)
    count = ordered.shape[-1]
    total = ordered.sum(-1)
    weighted = ordered @ np.arange(1, count + 1)
    return (
        np.divide(2 * weighted, count * total, out=np.full(total.shape, (count + 1) / count), where=total > 0)
        - (count + 1) / count
    )
