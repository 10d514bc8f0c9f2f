"""How much of a head's effect is its routing, and how much is fixed.

With T the effect of exchanging a head's output for one vector (`mean-flat`) and C that of exchanging its map alone for
the average one (`mean-map`), on the same images: routing part C, fixed part T - C. They add up exactly; T - C may be
negative, so there are no shares.

Letters: K conditions, H heads, F folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vhs.counts import SCALE, Counts
from vhs.measures import margins
from vhs.measures.contrast import SCALES, error, leave_one_out, summed
from vhs.measures.intervals import benjamini_hochberg, jackknife

TOTAL, ROUTING, DONOR = "mean-flat", "mean-map", "donor-map"
FILLS = (TOTAL, ROUTING, DONOR)
LEVEL = 0.05
CLASSES = ("unused", "static", "routing", "undecided")

Tallies = Mapping[str, Sequence[Counts]]
"""fill -> for each condition Counts [H, F]; DONOR may be missing."""


@dataclass(frozen=True)
class Classified:
    """Of every head [H]: its class, the q of each class, and about how many images would decide it (NaN: it is decided,
    or no number would)."""

    classes: np.ndarray
    q: dict[str, np.ndarray]
    images: np.ndarray


def parts(tallies: Tallies, condition: int, scale: str) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """`total`, `routing`, `fixed` and, where it was measured, `donor`: (value, lo, hi), [H] each, by the fold
    jackknife."""
    value = SCALES[scale]
    found = {}
    for name, fill in (("total", TOTAL), ("routing", ROUTING), ("donor", DONOR)):
        if fill in tallies:
            counts = tallies[fill][condition]
            found[name] = value(summed(counts)), leave_one_out(value, counts)
    found["fixed"] = tuple(total - route for total, route in zip(found["total"], found["routing"], strict=True))
    return {name: (whole, *jackknife(whole, without)[:2]) for name, (whole, without) in found.items()}


def classify(tallies: Tallies, margin: float) -> Classified:
    """The class of every head, from its effects under all conditions, at a margin: a share of all answers, or of the
    intact squared error.

    unused: T below the margin in all conditions; static: C below it in all, under both kinds of map, and T above it in
    some; routing: C above it in some. "Below in all" is the largest p over conditions, "above in some" Holm's; q by
    Benjamini-Hochberg over heads. Without donor maps no head is called static.
    """
    tests = {fill: Tests(counts, margin) for fill, counts in tallies.items()}
    below = {fill: test.below_KH.max(0) for fill, test in tests.items()}
    above = {fill: margins.holm(tests[fill].above_KH.T) for fill in (TOTAL, ROUTING)}
    frozen = np.maximum(below[ROUTING], below[DONOR]) if DONOR in tallies else np.ones_like(below[ROUTING])
    q = {
        "unused": benjamini_hochberg(below[TOTAL]),
        "static": benjamini_hochberg(np.maximum(frozen, above[TOTAL])),
        "routing": benjamini_hochberg(above[ROUTING]),
    }  # fmt: skip
    classes = np.select([q[name] < LEVEL for name in CLASSES[:3]], CLASSES[:3], CLASSES[3])
    images = _images(tests)
    return Classified(classes, q, np.where((classes == "undecided") & np.isfinite(images), images, np.nan))


class Tests:
    """One fill's effects against the margin. below_KH, above_KH: one-sided p; under_KH: whether the effect seen is
    below; needed_KH: images that would tell it from the margin."""

    def __init__(self, counts: Sequence[Counts], margin: float) -> None:
        made = _answers if "n_lost" in counts[0].fields else _errors
        self.below_KH, self.above_KH, self.under_KH, self.needed_KH = made(counts, margin)


def _answers(counts: Sequence[Counts], margin: float) -> tuple[np.ndarray, ...]:
    """By margins' exact tests of paired answers."""
    lost, gained, n = (np.stack([part.total(name) for part in counts]) for name in ("n_lost", "n_gained", "n"))
    drop = (lost - gained) / n
    needed = margins.images_needed(drop, (lost + gained) / n, margin, len(counts))
    gamma = margins.GAMMA / n.size  # all of these tests are corrected for
    below, above = (
        test(lost, gained, n, margin, gamma=gamma) for test in (margins.below_p, margins.above_p)
    )  # fmt: skip
    return below, above, drop < margin, needed


def _errors(counts: Sequence[Counts], margin: float) -> tuple[np.ndarray, ...]:
    """By t of the mean of dse - margin * se_intact, its error from leaving out folds."""
    from scipy.special import stdtr

    def beyond(sums: Counts) -> np.ndarray:
        return error(sums) - margin * sums["se_intact"] / sums["n"] / SCALE

    values, errors = [], []
    for part in counts:
        values.append(beyond(summed(part)))
        errors.append(jackknife(values[-1], leave_one_out(beyond, part))[2])
    value, spread = np.stack(values), np.maximum(np.stack(errors), 1e-300)
    n = np.stack([part.total("n") for part in counts])
    z = margins.POWER_Z[len(counts) > 1]
    with np.errstate(divide="ignore"):
        needed = n * z**2 * (spread / np.abs(value)) ** 2
    freedom = counts[0].values.shape[-2] - 1
    return stdtr(freedom, value / spread), stdtr(freedom, -value / spread), value < 0, needed


def _images(tests: Mapping[str, Tests]) -> np.ndarray:
    """[H]: of the ways in which a head may be decided the one that takes the fewest images, at the rates seen."""

    def all_below(fill: str) -> np.ndarray:
        return np.where(tests[fill].under_KH, tests[fill].needed_KH, np.inf).max(0)

    def some_above(fill: str) -> np.ndarray:
        return np.where(tests[fill].under_KH, np.inf, tests[fill].needed_KH).min(0)

    ways = [all_below(TOTAL), some_above(ROUTING)]
    if DONOR in tests:
        ways.append(np.maximum.reduce([all_below(ROUTING), all_below(DONOR), some_above(TOTAL)]))
    return np.minimum.reduce(ways)
