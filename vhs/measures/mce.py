"""Corruption errors (Hendrycks & Dietterich 2019): per corruption, relative to a normaliser, and their means.

Letters: C corruptions, S = 5 severities, F folds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vhs.measures.intervals import jackknife
from vhs.shifts.names import CATEGORY

AVERAGED = tuple(CATEGORY)
ALEXNET_CLEAN = 0.43478
"""1 - 0.56522: top-1 error of torchvision's AlexNet_Weights.IMAGENET1K_V1 on the ILSVRC-2012 validation
set, from torchvision's documentation; the AlexNet of the ImageNet-C paper is torchvision's."""

ALEXNET = np.array([
    [0.69528, 0.82542, 0.93554, 0.98138, 0.99452], [0.71224, 0.85108, 0.93574, 0.98182, 0.99146],
    [0.78374, 0.89808, 0.9487, 0.9872, 0.99548], [0.65624, 0.73202, 0.85036, 0.91364, 0.94714],
    [0.64308, 0.75054, 0.88806, 0.91622, 0.93344], [0.5843, 0.70048, 0.82108, 0.8975, 0.92638],
    [0.70008, 0.76992, 0.80784, 0.84198, 0.87198], [0.71726, 0.88392, 0.86468, 0.9187, 0.94952],
    [0.6139, 0.79734, 0.8879, 0.89942, 0.9343], [0.67474, 0.7605, 0.84378, 0.8726, 0.945],
    [0.4514, 0.48502, 0.54048, 0.62166, 0.72444], [0.64548, 0.7615, 0.88874, 0.9776, 0.9927],
    [0.52596, 0.70116, 0.55686, 0.64076, 0.80554], [0.52218, 0.5462, 0.73728, 0.87092, 0.91262],
    [0.51002, 0.54718, 0.57294, 0.65458, 0.74778],
])  # fmt: skip
"""AlexNet's top-1 error on the published files, [C, S]. Source: timm, branch bits_and_tpu,
`imagenetc_alexnet_error_rates_list`; its means are those in the code of other ImageNet-C evaluations."""


@dataclass(frozen=True)
class Normaliser:
    """Whose errors the sums are divided by. errors_CS: fractions; clean: its clean error, or None where unknown."""

    name: str
    errors_CS: np.ndarray
    clean: float | None


class Summary(NamedTuple):
    """Means over some corruptions. error, its bounds, ce and relative_ce are fractions; None where not to be had."""

    error: float
    ce: float | None
    relative_ce: float | None
    bounds: tuple[float, float] | None


def alexnet() -> Normaliser:
    """The normaliser of published mCE values."""
    return Normaliser("alexnet", ALEXNET, ALEXNET_CLEAN)


def summarise(
    errors_CS: np.ndarray, clean: float | None, chosen: list[int], normaliser: Normaliser | None = None,
    left_out_FCS: np.ndarray | None = None,
) -> Summary:  # fmt: skip
    """CE, relative CE and error, means over the `chosen` corruptions.

    CE of a corruption is its errors summed over severities, over the normaliser's; relative CE takes
    the clean error from each term first. left_out_FCS: the errors with each fold of the samples left
    out; bounds are of ce, or of error without a normaliser, by the fold jackknife.
    """
    ce = relative = None
    if normaliser is not None:
        ce = float(_ce(errors_CS, normaliser.errors_CS)[chosen].mean())
        if clean is not None and normaliser.clean is not None:
            relative = float(_ce(errors_CS - clean, normaliser.errors_CS - normaliser.clean)[chosen].mean())
    bounds = None
    if left_out_FCS is not None:
        by = np.ones_like(errors_CS) if normaliser is None else normaliser.errors_CS
        left_out = _ce(left_out_FCS, by)[:, chosen].mean(-1)
        lo, hi, _ = jackknife(_ce(errors_CS, by)[chosen].mean(-1), left_out)
        bounds = float(lo), float(hi)
    return Summary(float(errors_CS[chosen].mean()), ce, relative, bounds)


def _ce(errors_CS: np.ndarray, by_CS: np.ndarray) -> np.ndarray:
    """[..., C]: sums over severities, divided."""
    return errors_CS.sum(-1) / by_CS.sum(-1)
