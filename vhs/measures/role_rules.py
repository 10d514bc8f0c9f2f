"""Declared rules by which a head is called something, each with a threshold and a one-sided test.

All thresholds are tested against: a head is called positional where its share is surely above one half, not where it is
above it. What is no rule here is not called anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FREEDOM = 19
"""Of t, for measures whose intervals come from 20 folds; for others it errs on the safe side."""
FOLLOWS = 0.1
EXCESS = 0.5


@dataclass(frozen=True)
class Rule:
    """A head is `role` where `metric` (of `of`; None: of each there is) is surely above, or below, a threshold.

    folds: whether its intervals come from leaving out folds (half a width is t times the error) or are normal; null:
    whether the value must leave the band of chance, too; words: what is said of such a head, with its value and `of`.
    """

    role: str
    metric: str
    threshold: float
    words: str
    below: bool = False
    folds: bool = False
    null: bool = False


RULES = (
    Rule("region detector", "region_excess", EXCESS,
         "looks at {of}, beyond even attention and beyond the place by {value:+.2f}", folds=True),
    Rule("positional", "positional", 0.5,
         "looks at one displacement from {value:.0%} of patches (offset {offset:.2f})", folds=True),
    Rule("follower", "follows", FOLLOWS, "follows {of} (rank correlation {value:.2f})", null=True),
    Rule("sink", "sink_mass", 0.5, "puts {value:.0%} of its attention on sinks"),
    Rule("class-token reader", "class_mass", 0.5, "reads the class token from patches ({value:.0%} of attention)"),
    Rule("local", "distance_ratio", 0.5, "looks near by ({value:.0%} of even attention's distance)", below=True),
)  # fmt: skip
"""Of measures of the heads table, on clean images, in the order in which a head's roles are told."""


def p_values(
    rule: Rule, value: np.ndarray, lo: np.ndarray, hi: np.ndarray, null_hi: np.ndarray | None = None
) -> np.ndarray:  # fmt: skip
    """[...], one-sided: that the value is not beyond the rule's threshold. null_hi: the upper end of the 95 % band of
    the mean by chance; then the larger p of both."""
    from scipy.special import stdtr, stdtrit

    from vhs.measures.intervals import z_value

    widths = stdtrit(FREEDOM, 0.975) if rule.folds else z_value()
    error = np.maximum((hi - lo) / 2 / widths, 1e-12)
    beyond = (rule.threshold - value if rule.below else value - rule.threshold) / error
    p = stdtr(FREEDOM, -beyond)
    if rule.null and null_hi is not None:
        chance = np.hypot(error, null_hi / z_value())
        p = np.maximum(p, stdtr(FREEDOM, -value / chance))
    return np.where(np.isfinite(p), p, 1.0)
