"""From integer tallies to the numbers of table rows.

What a run knows besides (model, condition, fill) is put before them in records/. No torch: summed tallies may come from
files, too.

Letters: U units (the sham first), F folds, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vhs.counts import Counts, from_fixed
from vhs.measures import intervals
from vhs.measures.contrast import jackknife_test

Row = dict[str, Any]
COUNTED = ("n", "n_correct_intact", "n_correct", "n_lost", "n_gained", "n_near_tie")


def evaluation_row(sums: dict[str, int], bins: Counts) -> Row:
    """Accuracy, loss and calibration. sums: by field; bins: [BINS, fields]."""
    n, right, right5 = (sums[name] for name in ("n", "n_correct", "n_correct5"))
    lo, hi = intervals.wilson(right, n)
    loss = intervals.mean_interval(sums["loss"], sums["loss_sq"], n)
    return {
        "n": n, "n_correct": right, "top1": right / n, "top1_lo": float(lo), "top1_hi": float(hi),
        "n_correct5": right5, "top5": right5 / n,
        "loss": number(loss[0]), "loss_lo": number(loss[1]), "loss_hi": number(loss[2]),
        "ece": calibration_error(bins),
    }  # fmt: skip


def calibration_error(bins: Counts) -> float:
    """Expected calibration error: mean over samples of |confidence - accuracy| of their bin; in [0, 1].

    bins: int64 [BINS, fields].
    """
    gap = abs(from_fixed(bins["confidence_sum"]) - bins["n_correct"])
    return float(gap.sum() / max(bins["n"].sum(), 1))


def confidence_bins(bins: Counts) -> Iterator[Row]:
    """A row a bin of confidence. bins: int64 [BINS, fields]."""
    confidence = from_fixed(bins["confidence_sum"])
    for index in range(len(confidence)):
        yield {
            "bin": index, "n": int(bins["n"][index]), "confidence_sum": float(confidence[index]),
            "n_correct": int(bins["n_correct"][index]),
        }  # fmt: skip


def ablation_rows(sums: Counts, *, scored: Sequence[bool], adaptive: bool, reduced: bool) -> Iterator[Row]:
    """A row a unit, of Counts [U, F].

    scored: which units have an interaction; adaptive: whether the data decided how many samples, so that there are no
    p and q; reduced: whether the precision was, so that flips were counted.
    """
    n, lost, gained = (sums.total(name) for name in ("n", "n_lost", "n_gained"))
    intact, right = sums.total("n_correct_intact"), sums.total("n_correct")
    drop_lo, drop_hi = intervals.bonett_price(lost, gained, n)
    p = intervals.mcnemar(lost, gained)
    q = intervals.benjamini_hochberg(p[1:])
    dloss, dloss_lo, dloss_hi = intervals.mean_interval(sums.total("dloss"), sums.total("dloss_sq"), n)
    loss_intact = sums.total_float("loss_intact") / n
    score_lo, score_hi = intervals.signed_interval(sums.total("score"), sums.total("score_sq"), n)
    for unit, counted in enumerate(_counts(sums, reduced=reduced)):
        yield counted | {
            "score": sums.total("score")[unit] / n[unit] if scored[unit] else None,
            "score_lo": number(score_lo[unit]) if scored[unit] else None,
            "score_hi": number(score_hi[unit]) if scored[unit] else None,
            "drop": (intact[unit] - right[unit]) / n[unit],
            "drop_lo": drop_lo[unit], "drop_hi": drop_hi[unit],
            "p": None if adaptive else p[unit], "q": q[unit - 1] if unit and not adaptive else None,
            "loss_intact": loss_intact[unit], "loss": loss_intact[unit] + dloss[unit], "dloss": dloss[unit],
            "dloss_lo": number(dloss_lo[unit]), "dloss_hi": number(dloss_hi[unit]),
        }  # fmt: skip


def folds(sums: Counts, *, reduced: bool) -> list[list[Row]]:
    """By fold a row a unit, of Counts [U, F]."""
    found = []
    for fold in range(sums.values.shape[1]):
        part = Counts(sums.values[:, fold : fold + 1], sums.fields)
        totals = {f"{name}_sum": part.total(name) for name in ("loss_intact", "dloss", "dloss_sq")}
        found.append([
            {"fold": fold} | counted | {name: int(total[unit]) for name, total in totals.items()}
            for unit, counted in enumerate(_counts(part, reduced=reduced))
        ])  # fmt: skip
    return found


def means(sums: Counts) -> Iterator[Row]:
    """A row an entry: the mean of a value over samples with its interval, of Counts [entries, F]."""
    totals = zip(*(sums.total(name) for name in ("value", "value_sq", "n")), strict=True)
    for value_sum, square_sum, n in totals:
        value, lo, hi = intervals.mean_interval(value_sum, square_sum, int(n))
        yield {"n": int(n), "value": float(value), "lo": number(lo), "hi": number(hi)}


def estimate_rows(sums: Counts) -> Iterator[Row]:
    """A row a head: an estimated change of the loss with its interval, and the scores, of Counts [U, F]."""
    n = sums.total("n")
    mean, lo, hi = intervals.mean_interval(sums.total("dloss"), sums.total("dloss_sq"), n)
    score = from_fixed(sums.total("score")) / n
    token = from_fixed(sums.total("score_token")) / n if "score_token" in sums.fields else None
    for index in range(len(n)):
        yield {
            "n": int(n[index]), "dloss": float(mean[index]), "dloss_lo": float(lo[index]),
            "dloss_hi": float(hi[index]), "score": float(score[index]),
            "score_token": None if token is None else float(token[index]),
        }  # fmt: skip


def squared_errors(sums: Counts) -> Row:
    """Of one target intact, of Counts [F]: errors in deviations², and R² against the scored targets' own variance, none
    where they have none."""
    n = int(sums.total("n"))
    mse, mean, square = (float(sums.total_float(name)) / n for name in ("se", "target", "target_sq"))
    spread = square - mean**2
    _, lo, hi = intervals.mean_interval(sums.total("se"), sums.total("se_sq"), n)
    return {
        "n": n, "mse": mse, "r2": 1 - mse / spread if spread > 0 else None, "mse_lo": number(lo), "mse_hi": number(hi),
        "mae": float(sums.total_float("ae")) / n,
    }  # fmt: skip


def error_ablation_rows(sums: Counts, *, adaptive: bool) -> Iterator[Row]:
    """A row a unit, of Counts [U, F]: errors, their change, and the change relative to the intact error."""
    n = sums.total("n")
    intact = sums.total_float("se_intact") / n
    change, lo, hi = intervals.mean_interval(sums.total("dse"), sums.total("dse_sq"), n)
    relative = change / np.maximum(intact, 1e-12)
    rest = {name: sums.total(name)[:, None] - sums[name] for name in ("dse", "se_intact")}
    without = (rest["dse"] / np.maximum(rest["se_intact"], 1)).T
    rel_lo, rel_hi, _ = jackknife_test(relative, without)
    p = intervals.normal_p(change, hi)
    q = intervals.benjamini_hochberg(p[1:])
    for unit in range(len(n)):
        yield {
            "n": int(n[unit]), "mse_intact": intact[unit], "mse": intact[unit] + change[unit], "dmse": change[unit],
            "dmse_lo": number(lo[unit]), "dmse_hi": number(hi[unit]), "dmse_rel": relative[unit],
            "dmse_rel_lo": rel_lo[unit], "dmse_rel_hi": rel_hi[unit], "p": None if adaptive else p[unit],
            "q": q[unit - 1] if unit and not adaptive else None,
        }  # fmt: skip


def error_folds(sums: Counts) -> Iterator[list[Row]]:
    """By unit a row a fold, of Counts [U, F]."""
    columns = {"n": "n", "se_intact_sum": "se_intact", "dse_sum": "dse", "dse_sq_sum": "dse_sq"}
    for unit in range(len(sums.values)):
        yield [
            {"fold": fold} | {column: int(sums[field][unit, fold]) for column, field in columns.items()}
            for fold in range(sums.values.shape[1])
        ]


def number(value: Any) -> float | None:
    """A float for a table; NaN is null."""
    return None if math.isnan(value) else float(value)


def _counts(sums: Counts, *, reduced: bool) -> Iterator[Row]:
    """The counts of each unit; flips of the intact answer stand with the sham."""
    totals = {name: sums.total(name) for name in (*COUNTED, "n_flip")}
    for unit in range(len(totals["n"])):
        counted: Row = {name: int(totals[name][unit]) for name in COUNTED}
        yield counted | {"n_flip": int(totals["n_flip"][unit]) if reduced and unit == 0 else None}
