"""The certificate of a pruned model: its level where it is hardest, its power, its walk, its bounds."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from vhs.measures import certificate
from vhs.measures.margins import below_p

LEVEL = 0.05
ERROR = 3.0
"""Monte-Carlo standard errors that a level may be above."""
FEW, MANY = 2_000, 20_000


def allowed(runs: int) -> float:
    return LEVEL + ERROR * np.sqrt(LEVEL * (1 - LEVEL) / runs)


def worst_p(lost_RC: np.ndarray, gained_RC: np.ndarray, n: int, margin: float) -> np.ndarray:
    """[R]: the largest over conditions, of counts."""
    return below_p(lost_RC, gained_RC, n, margin).max(1)


def hardest(runs: int, n: int, margin: float, conditions: int, shared: float, seed: int) -> tuple[np.ndarray, ...]:
    """(lost [R, C], gained [R, C]): the first condition loses exactly `margin` and gains next to nothing; the others lose
    nothing in the mean, on images of which a share is lost in the first, too."""
    rng = np.random.default_rng(seed)
    first = rng.binomial(n, margin + 0.0005, runs)
    rare = 0.0005
    lost, gained = [first], [rng.binomial(n, rare, runs)]
    for _ in range(conditions - 1):
        together = rng.binomial(first, shared * rare / (margin + rare))
        lost.append(together + rng.binomial(n - first, (1 - shared) * rare))
        gained.append(rng.binomial(n, rare, runs))
    return np.stack(lost, 1), np.stack(gained, 1)


HARDEST = [(700, 0.01), (2_000, 0.01), (700, 0.05), (2_000, 0.005)]


@pytest.mark.parametrize(("n", "margin"), HARDEST)
def test_the_level_of_the_worst_condition(n: int, margin: float, runs: int = FEW, conditions: int = 5) -> None:
    lost, gained = hardest(runs, n, margin, conditions, 0.8, 1)
    passed = worst_p(lost, gained, n, margin) <= LEVEL
    assert passed.mean() <= allowed(runs)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "margin"), HARDEST)
def test_the_level_of_the_worst_of_75(n: int, margin: float) -> None:
    test_the_level_of_the_worst_condition(n, margin, MANY, 75)


DISTRIBUTIONS = {
    "all or nothing": lambda rng, size, margin: (rng.random(size) < margin).astype(float),
    "often a little": lambda rng, size, margin: rng.choice(
        [-0.2, 0.2], size, p=[0.5 - 2.5 * margin, 0.5 + 2.5 * margin]
    ),
    "a few, of both signs": lambda rng, size, margin: rng.choice(
        [-1.0, 0.0, 1.0], size, p=[0.01, 0.98 - margin, 0.01 + margin]
    ),
    "75 conditions that go together": lambda rng, size, margin: rng.beta(0.2, 0.2 / margin - 0.2, size),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("n", "margin"), [(700, 0.01), (1_300, 0.05)])
def test_the_level_of_means(name: str, n: int, margin: float, runs: int = FEW) -> None:
    rng = np.random.default_rng(2)
    passed = 0
    for _ in range(runs // 200):
        losses = DISTRIBUTIONS[name](rng, (200, n), margin)
        passed += sum(certificate.mean_p(row, margin) <= LEVEL for row in losses)
    assert passed / runs <= allowed(runs)


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_level_of_means_long(name: str) -> None:
    test_the_level_of_means(name, 700, 0.01, MANY)


def test_a_false_step_is_seldom_reached(runs: int = FEW) -> None:
    """Along a path whose fourth step loses exactly the margin, on the same images, and later ones more."""
    rng, n, margin = np.random.default_rng(3), 1_000, 0.02
    drops = [0.0, 0.004, 0.008, 0.02, 0.03]
    wrong = 0
    cumulative = np.cumsum(np.diff([0.0, *drops]))
    for _ in range(runs):
        image = rng.random(n)
        lost = [int((image < drop + 0.002).sum()) for drop in cumulative]
        gained = int((image > 1 - 0.002).sum())
        p = [float(below_p(count, gained, n, margin)) for count in lost]
        wrong += certificate.walk(p, LEVEL) > 3
    assert wrong / runs <= allowed(runs)


def rare_changes(runs: int, n: int, conditions: int, seed: int) -> np.ndarray:
    """int8 [R, C, N]: 1 lost, -1 gained, at .02 in each condition, without a drop; images that change in one condition
    change in others, too."""
    rng = np.random.default_rng(seed)
    weak = rng.random((runs, 1, n)) < 0.1
    changed = weak & (rng.random((runs, conditions, n)) < 0.2)
    return np.where(changed, rng.choice([-1, 1], (runs, conditions, n)), 0).astype(np.int8)


def test_the_power_of_the_three_kinds() -> None:
    """METHODS' figures: with 700 images the mean is nearly always certified, and all of 75 conditions never; these take
    four thousand."""
    margin, conditions = 0.01, 75
    few = rare_changes(20, 700, conditions, 5)
    assert np.mean([certificate.mean_p(run.mean(0), margin) <= LEVEL for run in few]) >= 0.9
    assert np.mean(worst_p((few > 0).sum(2), (few < 0).sum(2), 700, margin) <= LEVEL) <= 0.05
    many = rare_changes(20, 4_000, conditions, 6)
    assert np.mean(worst_p((many > 0).sum(2), (many < 0).sum(2), 4_000, margin) <= LEVEL) >= 0.5


def test_images_needed_are_about_enough() -> None:
    losses = rare_changes(1, 2_000, 75, 7)[0].mean(0)
    needed = certificate.images_for_mean(losses, 0.01, LEVEL)
    again = rare_changes(40, int(needed), 75, 8).mean(1)
    power = np.mean([certificate.mean_p(row, 0.01) <= LEVEL for row in again])
    assert 0.6 <= power <= 1
    assert certificate.images_for_mean(np.full(100, 0.02), 0.01, LEVEL) == float("inf")
    assert certificate.images_for_condition(20, 0, 1_000, 0.02, 1) == float("inf")
    assert certificate.images_for_condition(10, 0, 1_000, 0.02, 75) > certificate.images_for_condition(
        10, 0, 1_000, 0.02, 1
    )


def test_below_the_fewest_images_nothing_is_certified() -> None:
    for margin in (0.005, 0.01, 0.05):
        fewest = certificate.fewest_images(margin, LEVEL)
        assert (
            certificate.condition_p(0, 0, fewest, margin) <= LEVEL < certificate.condition_p(0, 0, fewest - 1, margin)
        )
    assert certificate.fewest_images(0.01, LEVEL) == 301


def test_a_bound_is_where_the_hypothesis_turns() -> None:
    for lost, gained in ((0, 0), (12, 3), (40, 41), (3, 20)):
        p_of = partial(certificate.condition_p, lost, gained, 1_000)
        bound = certificate.bound(p_of, LEVEL)
        assert p_of(bound) <= LEVEL
        assert bound == certificate.SMALLEST or p_of(bound - certificate.SMALLEST) > LEVEL
        assert bound >= (lost - gained) / 1_000
    assert certificate.bound(lambda _margin: 1.0, LEVEL) == 1


def test_the_walk_stops_at_the_first_that_is_not_passed() -> None:
    assert certificate.walk([0.01, 0.04, 0.06, 0.01], 0.05) == 2
    assert certificate.walk([], 0.05) == 0 and certificate.walk([0.2], 0.05) == 0
    assert certificate.walk([0.05, 0.05], 0.05) == 2


def test_a_bet_is_the_mean_of_products() -> None:
    losses, margin = np.array([0.0, 0.5, -1.0, 1.0]), 0.3
    capital = np.mean([np.prod([1 + bet * (margin - loss) for loss in losses]) for bet in certificate.BETS])
    assert np.isclose(certificate.mean_p(losses, margin), min(1, 1 / capital))
    assert certificate.mean_p(np.ones(2_000), 0.5) == 1 and certificate.mean_p(-np.ones(5_000), 0.5) < 1e-100
