"""Intervals, tests, contrasts and correlations against scipy, simulation and known answers."""

import numpy as np
import pytest
from scipy import stats

from vhs.counts import SCALE, Counts
from vhs.measures import contrast, correlation, intervals
from vhs.seeds import FOLDS

RNG = np.random.default_rng(7)


def agreement(a: Counts, b: Counts, layers: np.ndarray | None) -> correlation.Correlation:
    return correlation.correlate(*(correlation.Importances([part], "loss", layers=layers, seed=0) for part in (a, b)))


@pytest.mark.parametrize(("successes", "n"), [(0, 9), (9, 9), (3, 17), (850, 1000)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    want = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert np.allclose(intervals.wilson(successes, n), (want.low, want.high))


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (5, 5), (8, 1), (0, 12), (300, 240)])
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    want = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert intervals.mcnemar(lost, gained) == pytest.approx(want)


def test_bonett_price_by_hand() -> None:
    # lost 3, gained 1 of 100: (4 - 2) / 102 +- 1.96 sqrt((4/102 + 2/102 - (2/102)^2) / 102)
    half = 1.959964 * np.sqrt((6 / 102 - (2 / 102) ** 2) / 102)
    assert np.allclose(intervals.bonett_price(3, 1, 100), (2 / 102 - half, 2 / 102 + half))
    low, high = intervals.bonett_price(0, 0, 50)
    assert low < 0 < high, "never of width zero"


@pytest.mark.parametrize(("lost", "gained"), [(0.006, 0.002), (0.05, 0.03), (0.2, 0.01)])
def test_bonett_price_covers(lost: float, gained: float) -> None:
    n = 500
    draws = RNG.multinomial(n, [lost, gained, 1 - lost - gained], 4000)
    low, high = intervals.bonett_price(draws[:, 0], draws[:, 1], n)
    assert ((low <= lost - gained) & (lost - gained <= high)).mean() >= 0.94


def test_benjamini_hochberg_by_hand() -> None:
    assert np.allclose(intervals.benjamini_hochberg([0.01, 0.04, 0.03, 0.5]), [0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.5])


def test_mean_interval_from_fixed_point_sums() -> None:
    x = RNG.normal(0.3, 2, 400)
    total, squares = np.round(x * SCALE).sum(), np.round(x**2 * SCALE).sum()
    mean, low, high = intervals.mean_interval(total, squares, 400)
    half = 1.959964 * x.std(ddof=1) / 20
    assert np.allclose((mean, low, high), (x.mean(), x.mean() - half, x.mean() + half), atol=1e-6)
    assert np.isnan(intervals.mean_interval(5, 9, 1)[1])


def test_jackknife_of_a_mean_is_its_t_interval() -> None:
    x = RNG.normal(size=FOLDS)
    left_out = np.array([np.delete(x, i).mean() for i in range(FOLDS)])
    low, high, error = intervals.jackknife(np.array(x.mean()), left_out)
    assert error == pytest.approx(x.std(ddof=1) / np.sqrt(FOLDS))
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, FOLDS - 1) * error)


def folds_of(lost: np.ndarray, gained: np.ndarray, right: np.ndarray, dloss: np.ndarray) -> Counts:
    """Counts [H, F] from per-sample outcomes: lost, gained, dloss [H, n], right [n]."""
    heads, n = lost.shape
    fold = np.arange(n) % FOLDS
    names = ("n", "n_correct_intact", "n_correct", "n_lost", "n_gained", "dloss", "dloss_sq")
    rows = np.stack([
        np.ones((heads, n)), np.broadcast_to(right, lost.shape), right - lost.astype(int) + gained, lost, gained,
        np.round(dloss * SCALE), np.round(dloss**2 * SCALE),
    ], axis=-1)  # fmt: skip
    values = np.stack([rows[:, fold == f].sum(1) for f in range(FOLDS)], axis=1)
    return Counts(values.astype(np.int64), names)


def simulated(
    effect_a: np.ndarray, effect_b: np.ndarray, n: int, shared: float, rng: np.random.Generator
) -> tuple[Counts, Counts]:
    """Loss changes of H heads on n images under two conditions whose errors correlate by `shared`."""
    noise = rng.normal(size=(2, len(effect_a), n))
    noise[1] = shared * noise[0] + np.sqrt(1 - shared**2) * noise[1]
    nothing = np.zeros((len(effect_a), n), bool)
    right = np.ones(n, int)
    return tuple(
        folds_of(nothing, nothing, right, e[:, None] + x) for e, x in zip((effect_a, effect_b), noise, strict=True)
    )


def test_contrast_finds_the_head_that_differs_and_holds_its_level() -> None:
    rng = np.random.default_rng(0)
    false, found = 0, 0
    for _ in range(60):
        effect = np.array([0.2, 0.1, 0.0, 0.3, 0.0])
        a, b = simulated(effect, effect + np.array([0, 0, 0, 0, 0.2]), 400, 0.8, rng)
        result = contrast.differences(a, b, "loss")
        false += (result["p"][:4] < 0.05).sum()
        found += result["p"][4] < 0.05
    assert false / 240 < 0.09 and found > 55


def test_contrast_scales_by_hand() -> None:
    lost = np.zeros((1, 40), bool)
    lost[0, :4] = True
    right = np.r_[np.ones(20, int), np.zeros(20, int)]
    nothing = np.zeros((1, 40), bool)
    a = folds_of(nothing, nothing, right, np.zeros((1, 40)))
    b = folds_of(lost, nothing, right, np.full((1, 40), 0.25))
    values = {scale: contrast.differences(a, b, scale)["value_b"][0] for scale in contrast.OF_CLASSES}
    assert values["accuracy"] == 0.1 and values["lost_rate"] == 0.2 and values["loss"] == pytest.approx(0.25)
    assert values["log_odds"] == pytest.approx(np.log(20.5 / 20.5) - np.log(16.5 / 24.5))


@pytest.mark.slow
def test_cross_fold_correlation_is_unmoved_by_shared_errors() -> None:
    """Unrelated importances measured on the same images: the plain correlation is fooled, ours is not."""
    rng = np.random.default_rng(3)
    plain, ours = [], []
    for _ in range(25):
        effect = rng.normal(0, 0.05, (2, 30))
        a, b = simulated(effect[0], effect[1], 400, 0.9, rng)
        means = [counts["dloss"].sum(-1) for counts in (a, b)]
        plain.append(stats.spearmanr(*means).statistic)
        ours.append(agreement(a, b, None).r)
    assert np.mean(plain) > 0.3, "the trap is there"
    assert abs(np.mean(ours)) < 0.08


@pytest.mark.slow
def test_disattenuated_correlation_recovers_the_true_one() -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(25):
        first = rng.normal(0, 0.1, 40)
        second = 0.8 * first + 0.6 * rng.normal(0, 0.1, 40)
        a, b = simulated(first, second, 600, 0.7, rng)
        found.append(agreement(a, b, None).disattenuated)
    assert np.mean(found) == pytest.approx(0.79, abs=0.06)  # Spearman's of a normal .8 is .786


def test_correlation_says_nothing_where_there_is_only_noise() -> None:
    a, b = simulated(np.zeros(12), np.zeros(12), 200, 0.5, np.random.default_rng(5))
    result = agreement(a, b, None)
    assert result.disattenuated is None and result.p > 0.01


def test_within_layers_depth_is_taken_out() -> None:
    rng = np.random.default_rng(6)
    layers = np.repeat(np.arange(6), 5)
    a, b = simulated(layers * 0.5, layers * 0.5, 300, 0.0, rng)
    overall = agreement(a, b, None)
    within = agreement(a, b, layers)
    assert overall.r > 0.9 and abs(within.r) < 0.45
    assert overall.p < 0.01 < within.p


def test_intervals_of_tiny_values_are_not_too_narrow() -> None:
    x = RNG.normal(0, 3e-5, 5000)
    total, squares = np.round(x * SCALE).sum(), np.round(x**2 * SCALE).sum()
    _, low, high = intervals.mean_interval(total, squares, 5000)
    assert (high - low) / 2 >= 1.96 * x.std() / np.sqrt(5000)
