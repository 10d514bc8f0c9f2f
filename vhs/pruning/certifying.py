"""How far along a path heads may go: by what is surely lost, or by what was lost on the images that choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from vhs.measures import certificate as tests
from vhs.measures.pruning_options import Pruning
from vhs.pruning.steps import CONDITION, Group, Measured, Step, groups_of
from vhs.summaries.tallied import Row, number


@dataclass(frozen=True)
class Certificate:
    """margin: accuracy, as a fraction, that is lost at most in what `over` says; step: the last that is certified, None
    where none is; needed: about how many images the next one takes."""

    margin: float
    over: str
    confidence: float
    images: int
    conditions: tuple[str, ...]
    step: Step | None
    needed: float | None

    def refusal(self) -> str | None:
        """Why no model is saved; None where one is."""
        if self.step is not None:
            return None
        if self.needed is None or self.needed == float("inf"):
            advice = "The first step loses more; take a larger loss or another order."
        else:
            advice = f"About {self.needed:,.0f} would show that the first step loses less; take more, or --over mean."
        return (
            f"--certify {self.margin:g}: on {self.images:,} images no step is certified, so that no model is saved. "
            f"{advice}"
        )


def within(measured: Sequence[Measured], steps: Sequence[Step], asked: Pruning) -> Step:
    """The furthest step that loses at most `tolerance` on the images that choose, of each thing that `over` names."""
    assert asked.tolerance is not None
    groups = groups_of(measured, asked.over)
    fitting = [
        step for step in steps
        if all(group.losses(step.network, "choose").mean() <= asked.tolerance for group in groups)
    ]  # fmt: skip
    return fitting[-1]


def certify(
    measured: Sequence[Measured], steps: Sequence[Step], asked: Pruning
) -> tuple[dict[tuple[int, str, str], Row], Certificate | None]:
    """(by round, kind and name what is said of a hypothesis; the certificate)."""
    if asked.certify is None:
        return {}, None
    groups = groups_of(measured, asked.over)
    images = int(groups[0].members[0].of_part("report").sum())
    tested: dict[tuple[int, str, str], Row] = {}
    worst = []
    for step in steps[1:]:
        found = {group.name: _test(group, step, asked, len(groups)) for group in groups}
        tested |= {(step.round, groups[0].over, name): row for name, row in found.items()}
        worst.append(max(row["p"] for row in found.values()))
    passed = tests.walk(worst, asked.level)
    for (number_of, _, _), row in tested.items():
        row["certified"] = number_of <= steps[passed].round
    beyond = steps[passed + 1] if passed + 1 < len(steps) else None
    needed = None if beyond is None else max(_images(group, beyond, asked, len(groups)) for group in groups)
    names = tuple(member.name for group in groups for member in group.members)
    return tested, Certificate(
        asked.certify, asked.over, asked.confidence, images, names, steps[passed] if passed else None, needed
    )


def _test(group: Group, step: Step, asked: Pruning, groups: int) -> Row:
    assert asked.certify is not None
    p_of = _p_of(group, step)
    needed = _images(group, step, asked, groups)
    return {
        "epsilon": asked.certify, "confidence": asked.confidence, "p": p_of(asked.certify),
        "bound": tests.bound(p_of, asked.level), "images_needed": number(needed) if np.isfinite(needed) else None,
    }  # fmt: skip


def _p_of(group: Group, step: Step) -> Callable[[float], float]:
    losses = group.losses(step.network, "report")
    if group.over != CONDITION:
        return partial(tests.mean_p, losses)
    return partial(tests.condition_p, int((losses > 0).sum()), int((losses < 0).sum()), len(losses))


def _images(group: Group, step: Step, asked: Pruning, groups: int) -> float:
    """About how many would certify a step of what a group is about, one of several."""
    assert asked.certify is not None
    losses = group.losses(step.network, "report")
    if group.over != CONDITION:
        return tests.images_for_mean(losses, asked.certify, asked.level)
    lost, gained = int((losses > 0).sum()), int((losses < 0).sum())
    needed = tests.images_for_condition(lost, gained, len(losses), asked.certify, groups)
    return max(needed, tests.fewest_images(asked.certify, asked.level))
