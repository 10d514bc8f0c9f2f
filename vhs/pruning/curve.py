"""From what pruned networks answer to the prune table: a row a step of an order and condition, and means of conditions.

No torch. Letters: N samples, V networks, C conditions, J steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.grid import head_name
from vhs.measures import intervals
from vhs.measures.pruning_options import Pruning
from vhs.pruning.certifying import Certificate, certify
from vhs.pruning.steps import CONDITION, CORRUPTION, PARTS, Group, Measured, Step, groups_of, mean_of, same_images
from vhs.summaries.tallied import Row, calibration_error


@dataclass(frozen=True)
class Curve:
    """rows: of the prune table; certificate: where one was asked for."""

    rows: list[Row]
    certificate: Certificate | None


def curve(measured: Sequence[Measured], steps: Sequence[Step], asked: Pruning) -> Curve:
    """The rows of all steps, and how far the first order's are certified.

    Raises MismatchError where a mean is certified of conditions that were not measured on the same images.
    """
    tested, certified = certify(measured, [step for step in steps if step.order == steps[0].order], asked)
    means = list(_means(measured, asked))
    rows = []
    for step in steps:
        for part in PARTS:
            found = tested if part == "report" and step.order == steps[0].order else {}
            rows += [
                _row(step, part, member) | found.get((step.round, CONDITION, member.name), {}) for member in measured
            ]
            rows += [
                _mean_row(step, part, group) | found.get((step.round, group.over, group.name), {}) for group in means
            ]
    return Curve(rows, certified)


def _row(step: Step, part: str, member: Measured) -> Row:
    """One step under one condition."""
    folds = list(PARTS[part])
    sums = {name: int(member.sums[name][step.network, folds].sum()) for name in ("n", "n_correct")}
    losses = member.losses(step.network)[member.of_part(part)]
    lost, gained, n = int((losses > 0).sum()), int((losses < 0).sum()), sums["n"]
    if not n:
        raise MismatchError(f"{member.name}: no image is in the folds that {part}. Take more images.")
    lo, hi = intervals.wilson(sums["n_correct"], n)
    drop_lo, drop_hi = intervals.bonett_price(lost, gained, n)
    return member.keys | _of_step(step, part, CONDITION) | {
        "n": n, "n_correct": sums["n_correct"], "top1": sums["n_correct"] / n, "top1_lo": float(lo),
        "top1_hi": float(hi),
        "loss": _loss(member, step, part),
        "ece": calibration_error(Counts(member.bins.values[step.network, folds].sum(0), member.bins.fields)),
        "n_lost": lost, "n_gained": gained, "drop": (lost - gained) / n, "drop_lo": float(drop_lo),
        "drop_hi": float(drop_hi),
    }  # fmt: skip


def _mean_row(step: Step, part: str, group: Group) -> Row:
    loss = float(np.mean([_loss(member, step, part) for member in group.members]))
    return group.keys | _of_step(step, part, group.over) | {"loss": loss} | group.accuracy(step.network, part)


def _loss(member: Measured, step: Step, part: str) -> float:
    folds = list(PARTS[part])
    sums = Counts(member.sums.values[step.network, folds], member.sums.fields)
    return float(sums.total_float("loss")) / int(sums.total("n"))


def _of_step(step: Step, part: str, over: str) -> Row:
    return {
        "order": step.order, "round": step.round, "heads_left": step.heads_left,
        "removed": "+".join(head_name(*place) for place in step.new) or None, "over": over, "used_for": part,
    } | dict(step.sizes or {})  # fmt: skip


def _means(measured: Sequence[Measured], asked: Pruning) -> Iterator[Group]:
    """Means that the table has: of all conditions; of each corruption, if these are certified."""
    counted = [member for member in measured if member.counted]
    if len(counted) > 1 and same_images(counted):
        if asked.certify is not None and asked.over == CORRUPTION:
            yield from groups_of(measured, CORRUPTION)
        yield mean_of(counted)
