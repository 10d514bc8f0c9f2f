"""Intervals and tests on counts. NumPy and SciPy only, vectorised over any shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from vhs.counts import SCALE, Counts, from_fixed

LEVEL = 0.95


def z_value(level: float = LEVEL) -> float:
    """The two-sided normal quantile: 1.96 for 95 %."""
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


def wilson(successes: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval (1927) of a proportion; within [0, 1], never of width zero."""
    successes, n = np.asarray(successes, float), np.asarray(n, float)
    z = z_value()
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(successes * (n - successes) / n + z**2 / 4)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def bonett_price(n_lost: ArrayLike, n_gained: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the paired difference (lost - gained) / n (Bonett & Price 2012); within [-1, 1].

    Adds one to each discordant count, so it is never of width zero: Wald's covers 86 % where three
    discordants are expected.
    """
    lost, gained = np.asarray(n_lost, float), np.asarray(n_gained, float)
    lo, hi = signed_interval(lost - gained, lost + gained, n)
    return np.clip(lo, -1, 1), np.clip(hi, -1, 1)


def signed_interval(total: ArrayLike, squares: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the mean of whole numbers, mostly 0, from their sum and the sum of their squares.

    Bonett and Price's, one sample of +1 and one of -1 added, for numbers beyond 1 too (a pair of heads: -2 to 2).
    """
    n = np.asarray(n, float) + 2
    mean = np.asarray(total, float) / n
    half = z_value() * np.sqrt(((np.asarray(squares, float) + 2) / n - mean**2) / n)
    return mean - half, mean + half


def mcnemar(n_lost: ArrayLike, n_gained: ArrayLike) -> np.ndarray:
    """Exact two-sided p that losing and gaining are equally likely: twice the binomial tail, at most 1."""
    from scipy.special import bdtr

    lost, gained = np.asarray(n_lost), np.asarray(n_gained)
    return np.minimum(1.0, 2 * bdtr(np.minimum(lost, gained).astype(float), lost + gained, 0.5))


def benjamini_hochberg(p: ArrayLike) -> np.ndarray:
    """q values: the false discovery rate at which each p would be called (Benjamini & Hochberg 1995)."""
    p = np.asarray(p, float)  # as scipy.stats.false_discovery_control, which takes half a second to import
    order = np.argsort(p)
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return q


def mean_interval(total: ArrayLike, squares: ArrayLike, n: ArrayLike) -> tuple[np.ndarray, ...]:
    """(mean, lo, hi) of samples known by fixed-point sums of values and of squares.

    A normal interval; with fewer than two samples lo and hi are NaN. Each square was rounded to
    2^-24, so the variance is not believed below half of that: an interval of tiny values is too wide, never too narrow.
    """
    n = np.asarray(n, float)
    mean = from_fixed(np.asarray(total)) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = (
            np.maximum(from_fixed(np.asarray(squares)) / n - mean**2, 0.5 / SCALE) * n / np.where(n > 1, n - 1, np.nan)
        )
        half = z_value() * np.sqrt(variance / n)
    return mean, mean - half, mean + half


def normal_p(mean: np.ndarray, hi: np.ndarray) -> np.ndarray:
    """Two-sided probability of a mean so far from 0, from the upper bound of its normal interval; 1 if that is NaN."""
    from scipy.special import ndtr

    with np.errstate(invalid="ignore"):
        return np.nan_to_num(2 * ndtr(-np.abs(mean) * z_value() / (hi - mean)), nan=1.0)


def jackknife(whole: np.ndarray, left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lo, hi, standard error) from the statistic on all folds and with each fold left out.

    whole: [...]; left_out: [F, ...]. Delete-one-group jackknife (Tukey 1958), t with F - 1 degrees of
    freedom; clustered by whatever the folds hold together. Here: all appearances of a sample.
    """
    from scipy.special import stdtrit

    count = len(left_out)
    centred = left_out - left_out.mean(0)
    error = np.sqrt((count - 1) / count * (centred**2).sum(0))
    half = stdtrit(count - 1, (1 + LEVEL) / 2) * error
    return whole - half, whole + half, error


def jackknifed(
    counts: Counts, statistic: Callable[[Mapping[str, np.ndarray]], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """(value, lo, hi) of a statistic of sums that is no mean, [...], from Counts [..., F, fields] by leaving out folds.

    statistic: of sums by field, any shape, floats out of fixed point. Folds without samples, by the first field, are no
    replicates; lo and hi are NaN where fewer than two have any.
    """
    from scipy.special import stdtrit

    whole = counts.values.sum(-2)
    rest = whole[..., None, :] - counts.values
    value = statistic(_by_field(whole, counts.fields))
    filled = counts[counts.fields[0]] > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        without = np.where(filled, statistic(_by_field(rest, counts.fields)), 0.0)
        folds = filled.sum(-1)
        centred = np.where(filled, without - (without.sum(-1) / folds)[..., None], 0.0)
        error = np.sqrt((folds - 1) / folds * (centred**2).sum(-1))
        half = np.where(folds > 1, stdtrit(np.maximum(folds - 1, 1), (1 + LEVEL) / 2) * error, np.nan)
    return value, value - half, value + half


def _by_field(sums: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
    """`n` as it is, all others out of fixed point."""
    return {
        name: sums[..., index].astype(float) if name == "n" else from_fixed(sums[..., index])
        for index, name in enumerate(fields)
    }


def weighted_mean(right: np.ndarray, n: np.ndarray, weights: Sequence[float]) -> tuple[float, float, float]:
    """(mean, lo, hi) of the proportions right / n of independent groups, weighted by `weights`.

    95 % interval on the normal scale with each group's variance at (right + 1) / (n + 2), as Agresti and
    Coull do, so that a group without an error still has a width.
    """
    share = np.asarray(weights, dtype=float) / np.sum(weights)
    mean = float((share * right / n).sum())
    p = (right + 1) / (n + 2)
    half = z_value() * float(np.sqrt((share**2 * p * (1 - p) / (n + 2)).sum()))
    return mean, max(mean - half, 0.0), min(mean + half, 1.0)
