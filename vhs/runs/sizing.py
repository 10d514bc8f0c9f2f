"""How many samples an interval of a wanted width takes, from a pilot."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vhs.errors import UsageError
from vhs.measures.ablation import HeadAblation
from vhs.measures.intervals import bonett_price
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.runs.run import Run, sweep

PILOT = 1000


def size_to(run: Run, half_width: float) -> Run:
    """`run` on as many samples as its drops need, at least PILOT, the same for all conditions so that they pair.

    A pilot on the first PILOT samples of the nested order gives each head's half-width under each
    condition; the widest decides, since it falls with the root of the samples. The number of samples thus
    depends on the data, so that p and q are not to be had.
    """
    if run.data.manifest.targets:
        raise UsageError("--half-width: is of drops in accuracy, and these data have targets. Use --max-samples.")
    if run.data.total <= PILOT:
        return replace(run, adaptive=True)
    pilot = run.decode_again(samples=PILOT)
    needed = math.ceil(PILOT * (_widest(pilot) / half_width) ** 2)
    samples = min(max(needed, PILOT), run.data.total)
    short = " (all there are; the width is not reached)" if needed > samples else ""
    run.note(f"measuring {samples:,} of {run.data.total:,} samples{short}")
    return replace(run.decode_again(samples=samples), adaptive=True)


def _widest(run: Run) -> float:
    """The widest half of an interval of a drop, over conditions, models and heads."""

    def make(model: Model, scope: Scope) -> HeadAblation:
        return HeadAblation(model, scope, run.stack)

    widest = 0.0
    for _, results in sweep(run, make):
        for tallies in results:
            n, lost, gained = (tallies["units"].total(name) for name in ("n", "n_lost", "n_gained"))
            lo, hi = bonett_price(lost, gained, n)
            widest = max(widest, float(np.max(hi - lo)) / 2)
    return widest
