"""Does a head matter more under shift? The same head, the same images, two conditions.

Letters: H heads, F folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vhs.counts import Counts, from_fixed
from vhs.measures.intervals import jackknife


def accuracy(sums: Counts) -> np.ndarray:
    """Drop in accuracy: (lost - gained) / n; in [-1, 1]."""
    return _over((sums["n_lost"] - sums["n_gained"]), sums["n"])


def lost_rate(sums: Counts) -> np.ndarray:
    """Lost answers among those the intact model has right; in [0, 1]."""
    return sums["n_lost"] / np.maximum(sums["n_correct_intact"], 1)


def loss(sums: Counts) -> np.ndarray:
    """Mean change of the loss, nats."""
    return _over(from_fixed(sums["dloss"]), sums["n"])


def log_odds(sums: Counts) -> np.ndarray:
    """Drop in the log-odds of being right, with half a count added to each cell; nats."""
    return _logit(sums["n_correct_intact"], sums["n"]) - _logit(sums["n_correct"], sums["n"])


def error(sums: Counts) -> np.ndarray:
    """Mean change of the squared error of a target, deviations²."""
    return _over(from_fixed(sums["dse"]), sums["n"])


def relative_error(sums: Counts) -> np.ndarray:
    """The same relative to the intact model's squared error."""
    return sums["dse"] / np.maximum(sums["se_intact"], 1)


def differences(a: Counts, b: Counts, scale: str) -> dict[str, np.ndarray]:
    """Effect of each head under `a` and `b` and their difference b - a, with a fold-jackknife interval.

    a, b: Counts [H, F] of the same samples in the same folds. scale: a key of SCALES.
    Images are paired because a fold holds the same images in both. p is two-sided from t with F - 1
    degrees of freedom. Returns value_a, value_b, diff, lo, hi, p, each [H].
    """
    value = SCALES[scale]
    value_a, value_b = value(summed(a)), value(summed(b))
    without = leave_one_out(value, b) - leave_one_out(value, a)
    diff = value_b - value_a
    lo, hi, p = jackknife_test(diff, without)
    return {"value_a": value_a, "value_b": value_b, "diff": diff, "lo": lo, "hi": hi, "p": p}


def averages(clean: Counts, shifted: Sequence[Counts], scale: str) -> dict[str, np.ndarray]:
    """Effect of each head averaged over several conditions, and that less its effect on clean.

    All conditions hold the same samples, so intervals come from leaving out a fold from all of them at
    once: clustered by sample. Treating 75 conditions as independent understates the error about five times.
    Returns value, lo, hi, value_p (that it is 0), clean, diff, diff_lo, diff_hi, p (that diff is), each [H].
    """
    value = SCALES[scale]
    mean = np.mean([value(summed(counts)) for counts in shifted], axis=0)
    mean_without = np.mean([leave_one_out(value, counts) for counts in shifted], axis=0)
    base, base_without = value(summed(clean)), leave_one_out(value, clean)
    lo, hi, value_p = jackknife_test(mean, mean_without)
    diff_lo, diff_hi, p = jackknife_test(mean - base, mean_without - base_without)
    return {
        "value": mean, "lo": lo, "hi": hi, "value_p": value_p, "clean": base, "diff": mean - base, "diff_lo": diff_lo,
        "diff_hi": diff_hi, "p": p,
    }  # fmt: skip


def jackknife_test(diff: np.ndarray, without: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(lo, hi, p) of a difference, by the fold jackknife; p two-sided from t with F - 1 degrees of freedom."""
    from scipy.special import stdtr

    lo, hi, error = jackknife(diff, without)
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(error > 0, np.abs(diff) / error, np.where(diff == 0, 0.0, np.inf))
    return lo, hi, 2 * stdtr(len(without) - 1, -t)


def _over(total: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The mean; NaN for a fold that a small set has no sample in."""
    return np.divide(total, n, out=np.full(np.broadcast_shapes(total.shape, n.shape), np.nan), where=n > 0)


def _logit(correct: np.ndarray, n: np.ndarray) -> np.ndarray:
    return np.log((correct + 0.5) / (n - correct + 0.5))


def summed(counts: Counts) -> Counts:
    """The tallies of all folds together, without the axis of folds."""
    return Counts(counts.values.sum(-2), counts.fields)


def leave_one_out(value: Callable[[Counts], np.ndarray], counts: Counts) -> np.ndarray:
    """[F, H]: the statistic without each fold."""
    rest = counts.values.sum(-2, keepdims=True) - counts.values
    return np.moveaxis(value(Counts(rest, counts.fields)), -1, 0)


SCALES: dict[str, Callable[[Counts], np.ndarray]] = {
    "accuracy": accuracy,
    "lost_rate": lost_rate,
    "loss": loss,
    "log_odds": log_odds,
    "error": error,
    "relative_error": relative_error,
}
OF_CLASSES, OF_TARGETS = tuple(SCALES)[:4], tuple(SCALES)[4:]
USUAL = ("accuracy", "loss", *OF_TARGETS)
"""What is taken where no scale is named."""
