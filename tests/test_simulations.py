"""Do the statistics hold what they promise? 20,000 simulated runs each; `make test-all`.

Replicates stand where heads stand in a run: every measure is vectorised over that axis.
"""

import numpy as np
import pytest

from vhs.counts import SCALE, Counts
from vhs.measures import contrast, correlation, intervals, redundancy
from vhs.seeds import FOLDS

pytestmark = pytest.mark.slow
RUNS = 20_000
NAMES = ("n", "n_correct_intact", "n_correct", "n_lost", "n_gained", "dloss", "dloss_sq")


def joint(after_a: tuple[float, float], after_b: tuple[float, float], dependence: float) -> np.ndarray:
    """[2, 2, 2, 2]: chances of (right intact a, right after a, right intact b, right after b) for one image.

    after_x: accuracy intact and after. Within a condition an image tends to keep its answer; between the
    conditions it does the same as in the other one with chance `dependence`.
    """

    def one(intact: float, after: float) -> np.ndarray:
        lost = intact - min(intact, after) + 0.02
        gained = lost - (intact - after)
        return np.array([[1 - intact - gained, gained], [lost, intact - lost]])

    a, b = one(*after_a), one(*after_b)
    cells_a, cells_b = a.ravel(), b.ravel()
    both = np.minimum(cells_a, cells_b)  # the most that can agree
    rest_a, rest_b = cells_a - both, cells_b - both
    together = np.diag(both) + (np.outer(rest_a, rest_b) / rest_a.sum() if rest_a.sum() > 0 else 0)
    return (dependence * together + (1 - dependence) * np.outer(cells_a, cells_b)).reshape(2, 2, 2, 2)


def drawn(chances: np.ndarray, n: int, rng: np.random.Generator) -> tuple[Counts, Counts]:
    """Counts [RUNS, FOLDS] of the two conditions of `joint`."""
    cells = rng.multinomial(n // FOLDS, chances.ravel(), (RUNS, FOLDS)).reshape(RUNS, FOLDS, 2, 2, 2, 2)
    return counted(cells.sum((-1, -2))), counted(cells.sum((2, 3)))


def counted(cells: np.ndarray) -> Counts:
    """Counts from [RUNS, FOLDS, right intact, right after]."""
    n, intact, after = cells.sum((-1, -2)), cells[..., 1, :].sum(-1), cells[..., :, 1].sum(-1)
    nothing = np.zeros_like(n)
    values = np.stack([n, intact, after, cells[..., 1, 0], cells[..., 0, 1], nothing, nothing], axis=-1)
    return Counts(values, NAMES)


@pytest.mark.parametrize("n", [200, 1000, 5000])
@pytest.mark.parametrize(
    ("lost", "gained"), [(0.0005, 0.0), (0.002, 0.001), (0.006, 0.002), (0.02, 0.02), (0.05, 0.03), (0.2, 0.01)]
)
def test_drop_intervals_cover(n: int, lost: float, gained: float) -> None:
    draws = np.random.default_rng(1).multinomial(n, [lost, gained, 1 - lost - gained], RUNS)
    lo, hi = intervals.bonett_price(draws[:, 0], draws[:, 1], n)
    covered = ((lo <= lost - gained) & (lost - gained <= hi)).mean()
    assert covered >= 0.94
    if n * (lost + gained) >= 10:
        assert covered <= 0.97, "honest, not merely wide"


@pytest.mark.parametrize(("p", "n"), [(0.85, 500), (0.5, 200), (0.2, 2000), (0.97, 2000)])
def test_wilson_covers(p: float, n: int) -> None:
    lo, hi = intervals.wilson(np.random.default_rng(2).binomial(n, p, RUNS), n)
    assert 0.94 <= ((lo <= p) & (p <= hi)).mean() <= 0.97


def test_loss_intervals_cover_skewed_changes() -> None:
    """Loss changes are mostly near nothing and now and then large."""
    rng, n, hits, runs = np.random.default_rng(3), 500, 0, RUNS // 10
    for _ in range(10):
        changes = rng.exponential(0.1, (runs, n)) * (rng.random((runs, n)) < 0.3)
        fixed = np.round(changes * SCALE).sum(1), np.round(changes**2 * SCALE).sum(1)
        _, lo, hi = intervals.mean_interval(*fixed, np.full(runs, n))
        hits += ((lo <= 0.03) & (hi >= 0.03)).sum()
    assert hits / RUNS >= 0.94


def test_the_false_discovery_rate_is_controlled() -> None:
    """40 heads that do nothing, 8 that do, all on the same images, so that their errors correlate."""
    rng, n = np.random.default_rng(4), 800
    shared = rng.random((RUNS, 1)) < 0.5  # in half the runs all heads lean the same way
    lean = np.where(shared, 1.3, 0.7)
    null = rng.poisson(6 * lean, (RUNS, 40)), rng.poisson(6 * lean, (RUNS, 40))
    real = rng.poisson(26, (RUNS, 8)), rng.poisson(6, (RUNS, 8))
    lost, gained = (np.concatenate(pair, axis=1) for pair in zip(null, real, strict=True))
    assert lost.max() < n
    p = intervals.mcnemar(lost, gained)
    false = []
    for row in p:
        called = intervals.benjamini_hochberg(row) < 0.05
        false.append(called[:40].sum() / max(called.sum(), 1))
    assert np.mean(false) <= 0.05


@pytest.mark.parametrize("dependence", [0.0, 0.6, 0.95])
@pytest.mark.parametrize("n", [500, 2000])
def test_contrasts_hold_their_level(dependence: float, n: int) -> None:
    rng = np.random.default_rng(5)
    equal = {
        "accuracy": ((0.9, 0.87), (0.7, 0.67)),
        "log_odds": ((0.9, 0.87), (0.7, _same_odds(0.9, 0.87, 0.7))),
        "lost_rate": ((0.9, 0.9), (0.9, 0.9)),
    }
    for scale, (a, b) in equal.items():
        p = contrast.differences(*drawn(joint(a, b, dependence), n, rng), scale)["p"]
        assert (p < 0.05).mean() <= 0.06, scale


def _same_odds(intact: float, after: float, other: float) -> float:
    """The accuracy after, from `other` intact, whose log-odds fall as much."""
    change = np.log(intact / (1 - intact)) - np.log(after / (1 - after))
    return 1 / (1 + np.exp(-(np.log(other / (1 - other)) - change)))


def rolled(chance_of_loss: np.ndarray, runs: int, n: int, rng: np.random.Generator) -> list[Counts]:
    """[condition] of Counts [runs, FOLDS]: each image is vulnerable or not, in all conditions alike."""
    vulnerable = rng.random((runs, n)) < 0.1
    fold = np.arange(n) % FOLDS
    found = []
    for chance in chance_of_loss:
        lost = vulnerable & (rng.random((runs, n)) < chance * 10)
        by_fold = np.stack([lost[:, fold == f].sum(1) for f in range(FOLDS)], axis=1)
        each = np.full_like(by_fold, n // FOLDS)
        nothing = np.zeros_like(by_fold)
        found.append(Counts(np.stack([each, each, each - by_fold, by_fold, nothing, nothing, nothing], -1), NAMES))
    return found


def test_rollups_are_clustered_by_sample() -> None:
    """15 conditions on the same images: the jackknife covers; treating them as independent does not."""
    rng, n, chances = np.random.default_rng(6), 400, np.linspace(0.02, 0.08, 15)
    covered, naive, level = [], [], []
    for _ in range(20):
        clean, *shifted = rolled(np.r_[chances.mean(), chances], RUNS // 20, n, rng)
        result = contrast.averages(clean, shifted, "accuracy")
        covered.append((result["lo"] <= chances.mean()) & (chances.mean() <= result["hi"]))
        level.append(result["p"] < 0.05)
        error = np.sqrt(sum(s.total("n_lost") / n * (1 - s.total("n_lost") / n) / n for s in shifted)) / 15
        naive.append(abs(result["value"] - chances.mean()) <= 1.96 * error)
    assert np.mean(covered) >= 0.94 and np.mean(level) <= 0.06
    assert np.mean(naive) < 0.85, "what goes wrong without clusters"


def test_all_heads_equal_is_rejected_as_often_as_promised() -> None:
    """Also where heads flip unlike many answers to no net effect; 1,000 runs of 2,000 permutations."""
    rng, heads, rejected, found = np.random.default_rng(7), 24, [], []
    for _ in range(1000):
        flips = rng.uniform(0.5, 3, (heads, 1))
        lost, gained = rng.poisson(flips, (heads, FOLDS)), rng.poisson(flips, (heads, FOLDS))
        rejected.append(redundancy.equality_p(_net(lost, gained)) < 0.05)
        found.append(redundancy.equality_p(_net(lost + rng.poisson(1, (heads, FOLDS)) * (flips > 2), gained)) < 0.05)
    assert np.mean(rejected) <= 0.065 and np.mean(found) > 0.8


def _net(lost: np.ndarray, gained: np.ndarray) -> Counts:
    return Counts(np.stack([lost, gained], axis=-1), ("n_lost", "n_gained"))


@pytest.mark.parametrize("truth", [0.0, 0.5, 0.9])
def test_cross_fold_correlation_where_the_classical_one_fails(truth: float) -> None:
    """Two conditions whose sampling errors correlate by .8; 300 runs of 100 splits each, 400 heads, normal effects."""
    rng, heads, n, shared = np.random.default_rng(8), 400, 400, 0.8
    found, classical = [], []
    for _ in range(300):
        effect = rng.normal(0, 0.05, (2, heads))
        effect[1] = truth * effect[0] + np.sqrt(1 - truth**2) * effect[1]
        noise = rng.normal(0, 1 / np.sqrt(n / FOLDS), (2, heads, FOLDS))
        noise[1] = shared * noise[0] + np.sqrt(1 - shared**2) * noise[1]
        a, b = (_losses(e[:, None] + x, n // FOLDS) for e, x in zip(effect, noise, strict=True))
        halves = correlation._halves(FOLDS, 0)
        a1, a2, b1, b2 = (
            correlation._ranks([part], "loss", half, None) for part in (a, b) for half in (halves, ~halves)
        )
        r = float(((a1 * b2).sum(1) + (a2 * b1).sum(1)).mean() / 2)
        own_a, own_b = float((a1 * a2).sum(1).mean()), float((b1 * b2).sum(1).mean())
        found.append(r / np.sqrt(own_a * own_b))
        plain = np.corrcoef(a.total("dloss"), b.total("dloss"))[0, 1]
        whole = [2 * own / (1 + own) for own in (own_a, own_b)]  # Spearman-Brown: of all the images
        classical.append(plain / np.sqrt(whole[0] * whole[1]))
    assert abs(np.mean(found) - truth) < 0.05
    assert np.mean(classical) > truth + 0.3


def _losses(mean_HF: np.ndarray, n: int) -> Counts:
    each, nothing = np.full(mean_HF.shape, n), np.zeros(mean_HF.shape, int)
    total = np.round(mean_HF * n * SCALE).astype(np.int64)
    return Counts(np.stack([each, each, each, nothing, nothing, total, nothing], axis=-1), NAMES)
