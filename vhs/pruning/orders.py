"""The order in which heads go, least needed first, measured on the images that choose.

Letters: U units (the sham first).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.grid import Place
from vhs.measures.direct import DirectEstimate
from vhs.measures.fill_kinds import FILLS, ZERO, FillKind
from vhs.measures.fills import Bank
from vhs.measures.pruned import PrunedEvaluation
from vhs.measures.pruning_options import OTHERS, RANDOM, SHIFTED, Pruning
from vhs.measures.scoring import Scope
from vhs.measures.selection import HeadScores
from vhs.measures.taylor import TaylorEstimate
from vhs.measures.weight_fills import Pruner
from vhs.models.model import Model
from vhs.runs.conditions import CLEAN, Condition, parse
from vhs.runs.run import Measure, Run, sweep
from vhs.seeds import hash64
from vhs.shifts.names import CORRUPTION_NAMES, EVERY_NAME

Cost = tuple[float, ...]
"""What a head is ordered by; the least goes first."""
OTHERS_SEVERITY = 3


@dataclass(frozen=True)
class Chooser:
    """run: of the images that choose, under the reported conditions; chosen: conditions of --choose-on; pruner: of the
    run's model."""

    run: Run
    chosen: Sequence[Condition]
    pruner: Pruner
    asked: Pruning

    def path(self, name: str) -> list[Place]:
        """All heads that can go, in the order in which they do."""
        if name == "forward":
            return self._forward()
        every = 1 if name == "backward" else self.asked.every or 1
        again = self.asked.again or name == "backward"
        gone: list[Place] = []
        while len(gone) < len(self.pruner.heads):
            costs = self._costs(name, gone)
            ranked = sorted((place for place in self.pruner.heads if place not in gone), key=lambda p: (costs[p], p))
            gone += ranked[:every] if again else ranked
            self.run.progress(f"order {name}", len(gone), len(self.pruner.heads))
        return gone

    def _costs(self, name: str, gone: Sequence[Place]) -> dict[Place, Cost]:
        """Of the heads that are left, without those that are gone."""
        model = replace(self.run.models[0], net=self.pruner.without(gone)) if gone else self.run.models[0]
        rule = RULES[name]
        run = replace(self.run, models=[model], conditions=self._conditions(rule.under))
        setting = Setting(run.stack, self.run.models[0], *self._bank(model))

        def make(of: Model, scope: Scope) -> Measure:
            return rule.measure(of, scope, setting)

        found = [results[0]["units"] for _, results in sweep(run, make)]
        costs = np.mean([rule.cost(counts) for counts in found], axis=0)
        heads = [(head.layer, head.head) for head in model.grid]
        return {place: tuple(float(part) for part in cost) for place, cost in zip(heads, costs, strict=True)}

    def _conditions(self, under: str) -> Sequence[Condition]:
        shifted = [condition for condition in self.run.conditions if condition.shift != CLEAN]
        if under == OTHERS:
            reported = {condition.corruption for condition in shifted}
            left = [name for name in CORRUPTION_NAMES if name not in reported]
            names = left or [name for name in EVERY_NAME if name not in reported]
            return parse([f"{name}:{OTHERS_SEVERITY}" for name in names])[1:]
        return (shifted or self.run.conditions) if under == SHIFTED else self.chosen

    def _bank(self, model: Model) -> tuple[FillKind, Bank | None]:
        """What stands in for a head where others are measured: what it will leave behind, in the mean at least."""
        if self.run.fill_images is None:
            return ZERO, None
        batches = [images.to(self.run.device) for images in self.run.fill_images.batches]
        return FILLS["mean-flat"], Bank(model, batches)

    def _forward(self) -> list[Place]:
        """From no head on: each step brings back the head that lowers the loss most; the path is that backwards."""
        back: list[Place] = []
        every = self.pruner.heads
        while len(back) < len(every):
            left = [place for place in every if place not in back]
            sets = [[place for place in every if place not in (*back, chosen)] for chosen in left]
            losses = mean_losses(self.run, self.chosen, self.pruner, sets)
            best = sorted(range(len(left)), key=lambda index: (losses[index], left[index]))
            back += [left[index] for index in best[: self.asked.every or 1]]
            self.run.progress("order forward", len(back), len(every))
        return back[::-1]


def random_path(heads: Sequence[Place], seed: int, draw: int) -> list[Place]:
    """A random order, the same whenever it is asked for."""
    return sorted(heads, key=lambda place: hash64(seed, RANDOM, draw, *place))


def mean_losses(
    run: Run, conditions: Sequence[Condition], pruner: Pruner, sets: Sequence[Sequence[Place]]
) -> np.ndarray:  # fmt: skip
    """[V]: mean over conditions of the loss, nats, without each of these sets of heads."""
    nets = [pruner.without(removed) for removed in sets]
    found = []
    for _, (tallies,) in sweep(
        replace(run, conditions=conditions), lambda of, scope: PrunedEvaluation(of, scope, nets)
    ):
        found.append(tallies["sums"].total_float("loss") / tallies["sums"].total("n"))
    return np.mean(found, axis=0)


@dataclass(frozen=True)
class Setting:
    """stack: variants at once; whole: the model before any head went; kind: what stands in for a head, of what bank."""

    stack: int
    whole: Model
    kind: FillKind
    bank: Bank | None


@dataclass(frozen=True)
class Rule:
    """measure: what is tallied; cost: from its tallies [U or heads, FOLDS] to what each head costs [heads, parts];
    under: as in pruning_options."""

    measure: Callable[[Model, Scope, Setting], Measure]
    cost: Callable[[Counts], np.ndarray]
    under: str = "chosen"


def _scores(model: Model, scope: Scope, by: Setting) -> Measure:
    return HeadScores(model, scope, by.stack, kind=by.kind, bank=by.bank, whole=by.whole)


def _views(model: Model, scope: Scope, by: Setting) -> Measure:
    return HeadScores(model, scope, by.stack, kind=by.kind, bank=by.bank, views=True)


def _taylor(model: Model, scope: Scope, by: Setting) -> Measure:
    return TaylorEstimate(model, scope, kind=by.kind, bank=by.bank)


def _direct(model: Model, scope: Scope, by: Setting) -> Measure:
    return DirectEstimate(model, scope, kind=by.kind, bank=by.bank)


def _gain(field: str) -> Callable[[Counts], np.ndarray]:
    """The mean of a field without each head, less that of the sham."""

    def cost(counts: Counts) -> np.ndarray:
        mean = _mean(counts, field)
        return (mean[1:] - mean[0])[:, None]

    return cost


def _estimate(field: str) -> Callable[[Counts], np.ndarray]:
    return lambda counts: _mean(counts, field)[:, None]


def _accuracy_first(counts: Counts) -> np.ndarray:
    """Accuracy lost, and where that is equal loss gained."""
    right = counts.total("n_correct") / _samples(counts)
    return np.stack([right[0] - right[1:], _gain("loss")(counts)[:, 0]], axis=1)


def _mean(counts: Counts, field: str) -> np.ndarray:
    return counts.total_float(field) / _samples(counts)


def _samples(counts: Counts) -> np.ndarray:
    n = counts.total("n")
    if not n.all():
        raise MismatchError("no image is in the folds that choose heads (0 to 6 of 20). Take more images.")
    return n


RULES = {
    "effect": Rule(_scores, _gain("loss")),
    "backward": Rule(_scores, _gain("loss")),
    "generated": Rule(_scores, _gain("loss"), OTHERS),
    "oracle": Rule(_scores, _accuracy_first, SHIFTED),
    "disagreement": Rule(_scores, _gain("apart"), SHIFTED),
    "entropy": Rule(_scores, _gain("entropy"), SHIFTED),
    "agreement": Rule(_views, _gain("views_apart"), SHIFTED),
    "taylor": Rule(_taylor, _estimate("dloss")),
    "michel": Rule(_taylor, _estimate("score")),
    "direct": Rule(_direct, _estimate("dloss")),
}
"""By name of a pruning_options.ORDERS; `forward` has a way of its own."""
