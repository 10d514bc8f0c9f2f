"""Is a drop in accuracy surely below a margin, or surely above it? One-sided tests of paired answers.

The score statistic of Tango 1998 for a paired difference, its distribution counted exactly over the trinomial of lost,
gained and unchanged answers, at the worst rate of discordant answers in a confidence interval of it (Berger & Boos
1994). Bonett-Price has a level of .078 where discordants are rare, Hoeffding-Bentkus needs tens of thousands of images.

Letters: Q rates of discordant answers, D numbers of them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

GAMMA = 0.001
"""Odds that the interval of the discordant rate misses it; they are added to p."""
POWER_Z = (1.645 + 0.842, 24**0.5)
"""How many standard errors the margin must be away for 80 % power: under one condition, and under all of many (found by
simulation of 75 that correlate)."""
RATES = 48
NEGLIGIBLE = 1e-12


def below_p(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, margin: float, *, gamma: float = GAMMA
) -> np.ndarray:  # fmt: skip
    """p of the hypothesis that the true drop is `margin` or more; small: it is surely below. Any shape.

    No p is below `gamma`: where many tests are made, it must be so much smaller than the level.
    """
    return _each(lost, gained, n, margin, gamma, upper=False)


def above_p(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, margin: float, *, gamma: float = GAMMA
) -> np.ndarray:  # fmt: skip
    """p of the hypothesis that the true drop is `margin` or less; small: it is surely above. Any shape."""
    return _each(lost, gained, n, margin, gamma, upper=True)


def images_needed(drop: ArrayLike, discordant: ArrayLike, margin: float, conditions: int) -> np.ndarray:
    """About how many images tell a drop from the margin, with 80 % power, if both rates are as they were seen.

    POWER_Z^2 q / (margin - drop)^2, the rate q of discordant answers taken as the margin where it is less. Infinite for
    a drop at the margin.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.maximum(np.asarray(discordant, float), margin)
        return POWER_Z[conditions > 1] ** 2 * rate / (np.asarray(drop, float) - margin) ** 2


def holm(p: np.ndarray) -> np.ndarray:
    """The smallest p of the last axis, corrected for having been chosen (Holm's first step): of "in some"."""
    return np.minimum(p.min(-1) * p.shape[-1], 1.0)


def _each(
    lost: ArrayLike, gained: ArrayLike, n: ArrayLike, margin: float, gamma: float, *, upper: bool
) -> np.ndarray:  # fmt: skip
    lost, gained, n = np.broadcast_arrays(*(np.asarray(part, np.int64) for part in (lost, gained, n)))
    triples = zip(lost.flat, gained.flat, n.flat, strict=True)
    found = [_one(int(a), int(b), int(c), float(margin), gamma, upper) for a, b, c in triples]
    return np.array(found, float).reshape(lost.shape)


@cache
def _one(lost: int, gained: int, n: int, margin: float, gamma: float, upper: bool) -> float:
    from scipy.special import betaincinv

    assert 0 < margin < 1
    count = lost + gained
    highest = float(betaincinv(count + 1, n - count, 1 - gamma)) if count < n else 1.0
    if highest < margin:  # so few answers changed that no drop of the margin fits them
        return 1.0 if upper else gamma
    rates_Q = np.linspace(margin, highest, RATES)
    return min(gamma + float(_tail(rates_Q, float(score(lost, gained, n, margin)), n, margin, upper=upper).max()), 1.0)


def score(lost: ArrayLike, gained: ArrayLike, n: float, margin: float) -> np.ndarray:
    """Tango's z of the drop against the margin: negative where the drop is smaller; grows with lost at equal sums."""
    lost, gained = np.asarray(lost, float), np.asarray(gained, float)
    b = -lost - gained + (2 * n - lost + gained) * margin
    c = -gained * margin * (1 - margin)
    rate = (np.sqrt(b**2 - 8 * n * c) - b) / (4 * n)
    spread = n * (2 * rate + margin - margin**2)
    return (lost - gained - n * margin) / np.sqrt(np.maximum(spread, 1e-300))


def _tail(rates_Q: np.ndarray, observed: float, n: int, margin: float, *, upper: bool) -> np.ndarray:
    """[Q]: odds of a score as small (or, `upper`, as large) as the observed one, at a drop of exactly the margin."""
    from scipy.special import bdtr, bdtrc

    counts_D = _likely(rates_Q, n)
    weights_QD = _binomial(counts_D, n, rates_Q[:, None])
    lean_Q = (rates_Q + margin) / (2 * rates_Q)
    most_D = _largest(observed, counts_D, n, margin, upper=upper).astype(float)
    if upper:
        inside = bdtrc(most_D, counts_D, lean_Q[:, None])  # more lost than `most`
    else:
        inside = np.where(most_D < 0, 0.0, bdtr(np.maximum(most_D, 0), counts_D, lean_Q[:, None]))
    inside = np.where(most_D < 0, 1.0 if upper else 0.0, inside)
    return (weights_QD * inside).sum(1)


def _largest(observed: float, counts_D: np.ndarray, n: int, margin: float, *, upper: bool) -> np.ndarray:
    """[D]: the most lost answers whose score does not exceed the observed one (`upper`: stays below it); -1: none."""
    slack = -1e-9 if upper else 1e-9
    low, high = np.full(counts_D.shape, -1, np.int64), counts_D.astype(np.int64)
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = score(middle, counts_D - middle, n, margin) <= observed + slack
        low, high = np.where(fits, middle, low), np.where(fits, high, middle - 1)
    return low


def _likely(rates_Q: np.ndarray, n: int) -> np.ndarray:
    """The numbers of discordant answers that are not negligible at any of the rates."""
    from scipy.stats import binom

    low = int(binom.ppf(NEGLIGIBLE, n, rates_Q[0]))
    high = int(binom.isf(NEGLIGIBLE, n, rates_Q[-1]))
    return np.arange(max(low, 0), min(high, n) + 1)


def _binomial(counts_D: np.ndarray, n: int, rates: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln, xlog1py, xlogy

    ways = gammaln(n + 1) - gammaln(counts_D + 1) - gammaln(n - counts_D + 1)
    return np.exp(ways + xlogy(counts_D, rates) + xlog1py(n - counts_D, -np.minimum(rates, 1.0)))
