"""Tallies to rows, without a run: known counts, and scipy's tests beside ours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vhs.counts import SCALE, Counts
from vhs.summaries import tallied

FIELDS = (
    "n", "n_correct_intact", "n_correct", "n_lost", "n_gained", "n_near_tie", "n_flip", "loss_intact", "dloss",
    "dloss_sq", "score", "score_sq",
)  # fmt: skip


def tallies(units: int = 3, folds: int = 4) -> Counts:
    """The sham, a head that 12 answers need and 2 are better without, and one that changes nothing."""
    values = np.zeros((units, folds, len(FIELDS)), np.int64)
    for unit, (lost, gained, dloss) in enumerate([(0, 0, 0.0), (12, 2, 0.5), (0, 0, 0.0)][:units]):
        for fold in range(folds):
            row = {
                "n": 25, "n_correct_intact": 20, "n_correct": 20 - lost // folds + (gained if fold == 0 else 0),
                "n_lost": lost // folds, "n_gained": gained if fold == 0 else 0, "n_near_tie": 1, "n_flip": fold,
                "loss_intact": round(25 * 0.75 * SCALE), "dloss": round(25 * dloss * SCALE),
                "dloss_sq": round(25 * dloss**2 * SCALE), "score": 0, "score_sq": 0,
            }  # fmt: skip
            values[unit, fold] = [row[name] for name in FIELDS]
    return Counts(values, FIELDS)


def rows(reduced: bool = False, adaptive: bool = False) -> list[dict]:
    return list(tallied.ablation_rows(tallies(), scored=[False] * 3, adaptive=adaptive, reduced=reduced))


def test_a_row_says_what_was_counted() -> None:
    sham, head, idle = rows()
    assert (head["n"], head["n_lost"], head["n_gained"], head["n_near_tie"]) == (100, 12, 2, 4)
    assert head["drop"] == pytest.approx(0.1) and head["dloss"] == pytest.approx(0.5)
    assert head["loss"] == pytest.approx(1.25) and head["loss_intact"] == pytest.approx(0.75)
    assert sham["drop"] == idle["drop"] == 0 and sham["q"] is None and idle["p"] == 1
    assert head["drop_lo"] < 0.1 < head["drop_hi"] and idle["drop_lo"] < 0 < idle["drop_hi"]


def test_p_is_the_exact_binomial_and_q_is_over_the_units_but_the_sham() -> None:
    _, head, idle = rows()
    assert head["p"] == pytest.approx(stats.binomtest(12, 14).pvalue, rel=1e-12)
    assert [head["q"], idle["q"]] == pytest.approx(stats.false_discovery_control([head["p"], 1.0]).tolist())


def test_a_run_sized_by_its_data_has_no_p_and_flips_are_of_reduced_precision() -> None:
    assert all(row["p"] is None and row["q"] is None for row in rows(adaptive=True))
    assert [row["n_flip"] for row in rows()] == [None] * 3
    assert [row["n_flip"] for row in rows(reduced=True)] == [6, None, None]


def test_folds_add_up_to_the_row() -> None:
    found = tallied.folds(tallies(), reduced=False)
    assert [len(fold) for fold in found] == [3] * 4
    for name in ("n", "n_lost", "n_gained", "n_correct"):
        assert sum(fold[1][name] for fold in found) == rows()[1][name]
    assert sum(fold[1]["dloss_sum"] for fold in found) == round(100 * 0.5 * SCALE)


def test_calibration_error_by_hand() -> None:
    """Two bins: 10 samples at .9 of which 5 are right, 30 at .5 of which 15 are right: .25 * .4."""
    bins = Counts(
        np.array([[10, round(9 * SCALE), 5], [30, round(15 * SCALE), 15]]), ("n", "confidence_sum", "n_correct")
    )
    assert tallied.calibration_error(bins) == pytest.approx(0.1, abs=1e-6)
    assert [row["bin"] for row in tallied.confidence_bins(bins)] == [0, 1]


def test_squared_errors_by_hand() -> None:
    errors, targets = np.array([0.1, -0.3, 0.2, 0.0]), np.array([1.0, -1.0, 0.5, -0.5])
    sums = {"n": 4, "se": (errors**2).sum(), "se_sq": (errors**4).sum(), "ae": abs(errors).sum(),
            "target": targets.sum(), "target_sq": (targets**2).sum()}  # fmt: skip
    values = [[round(value * (SCALE if name != "n" else 1)) for name, value in sums.items()]]
    row = tallied.squared_errors(Counts(np.array(values), tuple(sums)))
    assert row["mse"] == pytest.approx((errors**2).mean(), abs=1e-6) and row["mae"] == pytest.approx(0.15, abs=1e-6)
    assert row["r2"] == pytest.approx(1 - (errors**2).mean() / targets.var(), abs=1e-6)


def test_rows_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys\nfrom vhs.summaries import tallied\nprint('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
