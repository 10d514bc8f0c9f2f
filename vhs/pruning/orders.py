"""The order in which heads go, least needed first, measured on the images that choose.

Letters: U units (the sham first).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.grid import Place, head_name
from vhs.measures.direct import DirectEstimate
from vhs.measures.fill_kinds import FillKind
from vhs.measures.fills import Bank
from vhs.measures.pruned import PrunedEvaluation
from vhs.measures.pruning_options import ORDERS, OTHERS, RANDOM, SHIFTED, Pruning
from vhs.measures.scoring import Scope
from vhs.measures.selection import HeadScores
from vhs.measures.taylor import TaylorEstimate
from vhs.measures.weight_fills import Pruner
from vhs.models.model import Model
from vhs.pruning.steps import CHOOSING
from vhs.runs.conditions import CLEAN, Condition, parse
from vhs.runs.run import Measure, Run, sweep
from vhs.seeds import hash64
from vhs.shifts.names import CORRUPTION_NAMES, EVERY_NAME

Cost = tuple[float, ...]
"""What a head is ordered by; the least goes first."""
OTHERS_SEVERITY = 3


@dataclass(frozen=True)
class Chooser:
    """whole: the run, of all images, under the reported conditions; chosen: conditions of --choose-on; pruner: of its
    model; table: folds rows, whose effects are taken and not measured."""

    whole: Run
    chosen: Sequence[Condition]
    pruner: Pruner
    asked: Pruning
    table: pl.DataFrame | None = None

    @cached_property
    def run(self) -> Run:
        """On the images that choose."""
        return self.whole.of_folds(CHOOSING)

    def path(self, name: str) -> list[Place]:
        """All heads that can go, in the order in which they do."""
        if name == RANDOM:
            return random_path(self.pruner.heads, self.whole.seed, -1)
        if name == "forward":
            return self._forward()
        if name == "effect" and self.table is not None:
            return by_table(self.table, self.whole.models[0], self.pruner.heads, self._fill.name)
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
        run = replace(self.run, models=[model], conditions=self._conditions(ORDERS[name].under))
        setting = Setting(run.stack, self.run.models[0], self._fill, self._bank(model))

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

    @property
    def _fill(self) -> FillKind:
        """What stands in for a head where others are measured: what it will leave behind, in the mean at least."""
        return self.whole.ablation.fills[0]

    def _bank(self, model: Model) -> Bank | None:
        """What the fill is made of, for this model."""
        if self.run.fill_images is None:
            return None
        return Bank(model, [images.to(self.run.device) for images in self.run.fill_images.batches])

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


def by_table(table: pl.DataFrame, model: Model, heads: Sequence[Place], fill: str) -> list[Place]:
    """Heads by what removing each does to the loss on the images that choose, the mean over a folds table's conditions.

    Raises MismatchError for a table of another model or fill, or without some of the heads.
    """
    rows = table.filter((pl.col("unit") == "head") & pl.col("fold").is_in(list(CHOOSING)))
    if "dloss_sum" not in rows.columns:
        raise MismatchError("the tables are of targets; heads are ordered by the loss of models of classes.")
    own = rows.filter(pl.col("model_id") == model.weights_id)
    if not len(own):
        named = ", ".join(rows["model"].unique().sort().to_list()[:3])
        raise MismatchError(f"the tables are of {named or 'no model'}, not of {model.name} ({model.weights_id}).")
    filled = own.filter((pl.col("fill") == fill) & (pl.col("rescale") == "none"))
    if not len(filled):
        raise MismatchError(f"the tables fill with {', '.join(own['fill'].unique().sort())}; {fill} is wanted here.")
    conditions = filled.group_by("layer", "head", "shift", "corruption", "severity").agg(
        effect=pl.col("dloss_sum").sum() / pl.col("n").sum()
    )
    means = conditions.group_by("layer", "head").agg(pl.col("effect").mean())
    effects = {(layer, head): effect for layer, head, effect in means.iter_rows()}
    lacking = next((place for place in heads if place not in effects), None)
    if lacking is not None:
        raise MismatchError(
            f"the tables have no row of {head_name(*lacking)}. Make them with `vhs ablate` of {model.name}."
        )
    return sorted(heads, key=lambda place: (effects[place], place))


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
    """measure: what is tallied; cost: from its tallies [U or heads, FOLDS] to what each head costs [heads, parts]."""

    measure: Callable[[Model, Scope, Setting], Measure]
    cost: Callable[[Counts], np.ndarray]


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
    "generated": Rule(_scores, _gain("loss")),
    "oracle": Rule(_scores, _accuracy_first),
    "disagreement": Rule(_scores, _gain("apart")),
    "entropy": Rule(_scores, _gain("entropy")),
    "agreement": Rule(_views, _gain("views_apart")),
    "taylor": Rule(_taylor, _estimate("dloss")),
    "michel": Rule(_taylor, _estimate("score")),
    "direct": Rule(_direct, _estimate("dloss")),
}
"""By name of a pruning_options.ORDERS; `forward` has a way of its own."""
