"""Which step of a path of ever fewer heads surely loses little accuracy: Learn-then-Test in a fixed sequence.

Steps are tested in their order, each at the whole level, until one is not passed (Angelopoulos et al. 2021,
arXiv:2110.01052; Laufer-Goldshtein et al. 2022, arXiv:2210.07913): none before it is passed wrongly with more than the
level's odds, so nothing is corrected for the number of steps. The path must be fixed on other images.

Letters: N images, C conditions, J steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vhs.measures.margins import GAMMA, below_p, images_needed

BETS = (0.125, 0.25, 0.5, 1.0)
"""Stakes of the bets on a mean, averaged: what is best depends on how much the images' losses vary."""
POWER_Z = 0.842
SMALLEST = 1e-4
"""Steps in which a bound is looked for."""


def condition_p(lost: int, gained: int, n: int, margin: float) -> float:
    """p of the hypothesis that a condition loses `margin` or more, from the answers lost and gained of n images."""
    return float(below_p(lost, gained, n, margin))


def mean_p(losses_N: np.ndarray, margin: float) -> float:
    """p of the hypothesis that the mean loss of images is `margin` or more.

    losses: of each image the mean over conditions of answers lost less gained, -1 to 1. A bet that the mean is smaller:
    if it is not, a capital of the product of 1 + bet (margin - loss) does not grow in expectation, whatever the
    distribution, so that one over it is a p (Waudby-Smith & Ramdas 2024, arXiv:2010.09686).
    """
    logs = np.array([np.log1p(bet * (margin - losses_N)).sum() for bet in BETS])
    capital = np.logaddexp.reduce(logs) - np.log(len(BETS))
    return float(np.exp(-max(capital, 0.0)))


def bound(p_of: Callable[[float], float], level: float) -> float:
    """The smallest margin, a whole number of SMALLEST, whose hypothesis is rejected at `level`; 1 if none is."""
    low, high = 0, round(1 / SMALLEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if p_of(middle * SMALLEST) <= level else (middle, high)
    return high * SMALLEST


def walk(p_J: Sequence[float], level: float) -> int:
    """How many steps are passed before the first that is not."""
    return next((step for step, p in enumerate(p_J) if p > level), len(p_J))


def fewest_images(margin: float, level: float) -> int:
    """Below so many images nothing is certified of a condition, even if no answer changes."""
    return int(np.ceil(np.log(level - GAMMA) / np.log1p(-margin)))


def images_for_condition(lost: int, gained: int, n: int, margin: float, conditions: int) -> float:
    """About how many show with 80 % power that a condition, one of several, loses less than `margin`, if answers go on
    to change as they did. Infinite if it loses as much."""
    if lost - gained >= margin * n:
        return float("inf")
    return float(images_needed((lost - gained) / n, (lost + gained) / n, margin, conditions))


def images_for_mean(losses_N: np.ndarray, margin: float, level: float) -> float:
    """The same of a mean: when the best bet's capital will have grown to one over the level, if images go on as they
    did. Infinite if it does not grow."""
    growth = [np.log1p(bet * (margin - losses_N)) for bet in BETS]
    best = max(growth, key=lambda logs: float(logs.mean()))
    gain, spread, goal = float(best.mean()), float(best.std()), float(np.log(len(BETS) / level))
    if gain <= 0:
        return float("inf")
    root = (POWER_Z * spread + np.sqrt((POWER_Z * spread) ** 2 + 4 * gain * goal)) / (2 * gain)
    return float(root**2)
