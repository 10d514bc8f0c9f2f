"""Means and differences over training runs that differ in their seed, and what so few runs could have shown.

Student's t over seeds; Welch's for arms that share nothing (Welch 1947, Biometrika 34), for any weighted sum of arms by
Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

POWER = 0.8
"""Odds with which an effect as large as `detectable` is found at a level of .05, two-sided."""


class Estimate(NamedTuple):
    """value with its 95 % interval; deviation: standard deviation over seeds, NaN for arms that share nothing; p:
    two-sided, of a value of 0; detectable: see `detectable`. All but the value are NaN of one run, or of runs that
    are all alike."""

    value: float
    lo: float
    hi: float
    deviation: float
    p: float
    detectable: float


ALIKE = 1e-12
"""Share of the largest value below which a spread is rounding."""


def mean(values: np.ndarray) -> Estimate:
    """Of one arm: [seeds]."""
    count = len(values)
    deviation = float(values.std(ddof=1)) if count > 1 and not _alike(values) else np.nan
    return _estimate(float(values.mean()), deviation / np.sqrt(count), count - 1.0, deviation)


def paired(samples: Sequence[np.ndarray], weights: Sequence[float]) -> Estimate:
    """The weighted sum of arms whose runs of one seed belong together: each [seeds], in the same order."""
    return mean(np.sum([weight * sample for weight, sample in zip(weights, samples, strict=True)], axis=0))


def welch(samples: Sequence[np.ndarray], weights: Sequence[float]) -> Estimate:
    """The weighted sum of arms whose runs share nothing: each [its own number of seeds]."""
    value = float(sum(weight * sample.mean() for weight, sample in zip(weights, samples, strict=True)))
    if any(len(sample) < 2 for sample in samples) or all(map(_alike, samples)):
        return _estimate(value, np.nan, 0.0, np.nan)
    counts = np.array([len(sample) for sample in samples])
    parts = np.array([w**2 * s.var(ddof=1) for w, s in zip(weights, samples, strict=True)]) / counts
    freedom = parts.sum() ** 2 / max((parts**2 / (counts - 1)).sum(), 1e-300)
    return _estimate(value, float(np.sqrt(parts.sum())), max(float(freedom), 1.0), np.nan)


def together(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation over seeds of two arms, NaN where one does not vary: above .3 pairing them pays."""
    if len(a) < 3 or a.std() < 1e-12 or b.std() < 1e-12:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def detectable(error: float, freedom: float, *, power: float = POWER) -> float:
    """The smallest true effect that a two-sided test at .05 finds with odds `power`; by the noncentral t.

    error: standard error of the estimate, in its unit; freedom: its degrees of freedom, at least 1.
    """
    from scipy.special import nctdtrinc, stdtrit

    return float(nctdtrinc(freedom, 1 - power, stdtrit(freedom, 0.975)) * error)


def _alike(values: np.ndarray) -> bool:
    """Whether runs do not differ by more than rounding: they do not tell how far others would be."""
    return bool(np.ptp(values) <= ALIKE * max(1.0, float(np.abs(values).max())))


def _estimate(value: float, error: float, freedom: float, deviation: float) -> Estimate:
    from scipy.special import stdtr, stdtrit

    if not error > 0 or freedom < 1:
        return Estimate(value, *[float("nan")] * 5)
    half = float(stdtrit(freedom, 0.975)) * error
    p = float(2 * stdtr(freedom, -abs(value) / error))
    return Estimate(value, value - half, value + half, deviation, p, detectable(error, freedom))
