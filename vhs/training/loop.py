"""The training loop: a generator of updates. The caller prints, saves and stops.

Every draw belongs to (seed, epoch, sample) or (seed, step), so a run resumes exactly from its
weights, optimizer state and step number, on any number of processes.

Letters: B samples of an update over all processes, b those of this process, C channels, H height, W width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vhs.errors import UsageError
from vhs.models import surgery
from vhs.models.building import build
from vhs.models.model import Preprocess
from vhs.models.spec import Spec
from vhs.models.taps import Seen, Tapped, without_hooks
from vhs.seeds import seed_generators
from vhs.training import diversity, droppath, feed, optimization
from vhs.training.augmentation import augment, epoch_key, erase
from vhs.training.feed import Examples, Feed
from vhs.training.gates import Gates, hand_over, open_heads
from vhs.training.gradients import Norms, average
from vhs.training.lora import merge
from vhs.training.objective import ANSWERS, Objective, Part, Terms, total
from vhs.training.recipe import Recipe
from vhs.training.schedule import learning_rate
from vhs.world import world

NEVER = 2**62
SAME_DRAWS: dict[str, Any] = {"fallback_random": True}
"""A compiled network draws (drop path) what it draws uncompiled, not by a generator of the compiler's."""


@dataclass
class TrainingState:
    """Everything an update changes. planned: updates the recipe asks for; total: those the schedule is laid out for.

    run: the network as it is called, tapped, compiled or shared between processes. loss_sum: float64 scalar tensor, sum
    of the losses of this epoch's updates so far; term_sums: float64 [terms + 2], where there are several the same of
    each, and the norms of the gradients of the answers and of the rest at the epoch's first update; bad_step: int64
    scalar tensor, the first update whose loss was not finite. rows: which rows of the whole batch run; own_rows: those
    of this process; shared: what sums its gradients; gates: of heads that may go.
    """

    net: nn.Module
    run: Callable[[Tensor], Any]
    optimizer: torch.optim.Optimizer
    average: ModelEmaV3 | None
    step: int
    planned: int
    total: int
    per_epoch: int
    batch: int
    loss_sum: Tensor
    term_sums: Tensor
    bad_step: Tensor
    rows: droppath.Rows
    own_rows: Tensor
    shared: DistributedDataParallel | None = None
    gates: Gates | None = None

    @property
    def epoch(self) -> int:
        """The epoch the next update belongs to, 0-based."""
        return self.step // self.per_epoch

    def steps_in_epoch(self) -> int:
        """Updates done in the epoch of the last update, at least 1."""
        return (self.step - 1) % self.per_epoch + 1

    def first_bad_step(self) -> int | None:
        """The first update whose loss was not finite; waits for the device."""
        step = int(self.bad_step)
        return None if step == NEVER else step

    def terms(self, objective: Objective) -> dict[str, float]:
        """Each term's mean over the epoch so far, and `ratio`, of the gradients' norms, unless the others have none; {}
        where there is but one term."""
        if not objective.names:
            return {}
        *sums, answers, rest = (float(value) for value in self.term_sums)
        means = {name: value / self.steps_in_epoch() for name, value in zip(objective.names, sums, strict=True)}
        return means | ({"ratio": answers / rest} if rest else {})

    def weights(self, saved: str) -> nn.Module:
        """With plain weights and without the heads whose gates are closed: the average, where one is kept and `saved`
        is `ema`, or the network."""
        averaged = self.average is not None and saved == "ema"
        chosen = self.average.module if self.average is not None and averaged else self.net
        if self.gates is None:
            return merge(chosen)
        if averaged:
            hand_over(self.net, chosen)
        plain = merge(chosen)
        surgery.keep(plain, open_heads(chosen))
        return plain


def start(
    recipe: Recipe, spec: Spec, samples: int, device: torch.device, *, initial: dict[str, Tensor] | None = None,
    compiled: bool = False, objective: Objective | None = None,
) -> TrainingState:  # fmt: skip
    """A run at its beginning, over `samples` training samples. initial: weights to begin with, in place of timm's own;
    objective: whose terms see what, None for the loss of the answers alone.

    Raises UsageError where mixup would get an odd batch, processes would get unequal parts, or a compiled network
    cannot be seen into; MismatchError for a network that cannot at all.
    """
    batch = min(recipe.batch, samples)
    if recipe.mixes and batch % 2:
        raise UsageError(f"mixup pairs samples, and a batch would hold all {samples}. Set an even batch below that.")
    if len(feed.rows(batch)) % recipe.accumulate:
        raise UsageError(f"a batch of {batch} cannot be run in {recipe.accumulate} equal parts by each process.")
    with seed_generators(recipe.seed, "weights"):
        net = build(spec, drop_path=recipe.drop_path, layer_scale=recipe.layer_scale or 1e-5)
        if recipe.positions == "sincos" and initial is None:
            optimization.fix_positions(cast(VisionTransformer, net))
        if initial is not None:
            net.load_state_dict(net.state_dict() | initial, strict=True)
        optimization.freeze(net, recipe)
        gates = Gates(net, recipe) if recipe.prunes else None
    if compiled and recipe.prune_to:
        raise UsageError("--compile: what heads are worth is measured while they run, for --prune-to. Drop one.")
    net = net.to(device).train()
    optimization.hold(net)
    rows = droppath.share(net)
    per_epoch = recipe.updates_per_epoch(samples)
    planned = recipe.epochs * per_epoch
    average = ModelEmaV3(net, decay=recipe.ema) if recipe.ema else None  # a copy, so before it is tapped
    called = _tapped(net, objective, (spec.channels, spec.height, spec.width), compiled=compiled)
    shared = _share(called, device)
    if compiled and objective is not None and objective.names:
        # The answers' gradient is taken apart once an epoch, so what a backward pass needs must outlast it.
        torch._functorch.config.donated_buffer = False
    terms = len(objective.names) if objective else 0
    return TrainingState(
        net=net, run=torch.compile(shared or called, options=SAME_DRAWS) if compiled else shared or called,
        optimizer=optimization.optimizer(net, recipe, device), average=average, step=0, planned=planned, total=planned,
        per_epoch=per_epoch, batch=batch, loss_sum=torch.zeros((), dtype=torch.float64, device=device),
        term_sums=torch.zeros(terms and terms + 2, dtype=torch.float64, device=device),
        bad_step=torch.full((), NEVER, dtype=torch.int64, device=device), rows=rows,
        own_rows=feed.rows(batch).to(device), shared=shared, gates=gates,
    )  # fmt: skip


def updates(
    state: TrainingState, recipe: Recipe, source: Feed, preprocess: Preprocess, objective: Objective
) -> Iterator[float]:
    """Run one update after another until `state.total`; yields the learning rate of each, after it.

    The caller may lower `state.total` between updates. objective: that of `start`.
    """
    assignment = objective.distillation.assignment if objective.distillation else None
    while state.step < state.total:
        epoch, within = state.epoch, state.step % state.per_epoch
        if within == 0:
            state.loss_sum = torch.zeros_like(state.loss_sum)
            state.term_sums = torch.zeros_like(state.term_sums)
        for examples in source.epoch(epoch, within):
            rate = learning_rate(recipe, state.step, state.total, state.per_epoch)
            if assignment is not None and assignment.due(state.step, state.per_epoch, state.total):
                assignment.update(state.step, state.total, partial(seen_by, state.net, objective))
            if state.gates is not None:
                state.gates.before_update(state.step)
            with seed_generators(recipe.seed, "step", state.step):
                _update(state, recipe, objective, _pixels(recipe, epoch, examples, preprocess), rate)
            state.step += 1
            if state.gates is not None:
                state.gates.after_update(state.step, state.total)
            yield rate
            if state.step >= state.total:
                return


def uses_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Whether to train in bf16: as asked, or for `auto` where the device gains by it (CUDA; a CPU loses)."""
    if recipe.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return recipe.precision == "bf16"


def frozen_copy(net: nn.Module) -> nn.Module:
    """A copy in eval mode, for measuring in the middle of training."""
    return without_hooks(copy.deepcopy(net)).eval().requires_grad_(False)


@torch.no_grad()
def seen_by(net: nn.Module, objective: Objective, pixels_BCHW: Tensor) -> Seen:
    """What attention is distilled of, of a copy in eval mode of a network in the middle of training."""
    assert objective.distillation is not None and objective.distillation.attention is not None
    channels, height, width = pixels_BCHW.shape[1:]
    taps = objective.distillation.attention.taps
    return Tapped(frozen_copy(net), taps, (channels, height, width))(pixels_BCHW)[1]


def _tapped(
    net: nn.Module, objective: Objective | None, size: tuple[int, int, int], *, compiled: bool
) -> nn.Module:  # fmt: skip
    """The network, tapped where terms ask for it."""
    if objective is None or not objective.taps:
        return net
    if objective.diversity is not None:
        if compiled:
            raise UsageError("--compile: what it makes cannot be differentiated twice, as --diversity does. Drop one.")
        diversity.differentiable_twice(net, min(objective.diversity.layers))
    tapped = Tapped(net, objective.taps, size)
    if compiled and not tapped.compiles:
        raise UsageError(f"--compile: the attention of {type(net).__name__} is read where it runs. Drop --compile.")
    return tapped


def _share(net: nn.Module, device: torch.device) -> DistributedDataParallel | None:
    """The network with gradients summed over processes; None where it is alone."""
    if world()[1] == 1:
        return None
    return DistributedDataParallel(net, device_ids=[device] if device.type == "cuda" else None)


def _pixels(recipe: Recipe, epoch: int, examples: Examples, preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    key = epoch_key(recipe.seed, epoch)
    images = augment(examples.images_BCHW, examples.keys_B, crop=recipe.crop, flip=recipe.flip, key=key)
    return erase(preprocess(images), examples.keys_B, recipe.erase, key), examples.answers_B


def _update(
    state: TrainingState, recipe: Recipe, objective: Objective, batch: tuple[Tensor, Tensor], rate: float
) -> None:
    pixels, answers = objective.criterion.mix(*batch)
    state.optimizer.zero_grad(set_to_none=True)
    parts = zip(*(part.chunk(recipe.accumulate) for part in (pixels, answers, state.own_rows)), strict=True)
    losses = []
    norms = Norms(state.net) if objective.names and state.step % state.per_epoch == 0 else None
    for index, (images, targets, rows) in enumerate(parts):
        state.rows.batch, state.rows.rows_b = state.batch, rows
        part = Part(images, targets, rows, state.batch, state.step)
        with _without_sync(state, last=index == recipe.accumulate - 1):
            terms = _terms(state, recipe, objective, part)
            loss = total(terms) / recipe.accumulate
            if norms is not None:
                norms.add(terms[ANSWERS], recipe.accumulate)
            loss.backward()
        values = [value.detach() / recipe.accumulate for _, value in terms.values()] if objective.names else []
        losses.append(torch.stack([loss.detach(), *values]).double())
    sums = average(torch.stack(losses).sum(0))
    if norms is not None:
        state.term_sums[len(objective.names) :] = norms.both()
    if recipe.clip:
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), recipe.clip)
    optimization.set_rate(state.optimizer, rate)
    state.optimizer.step()
    if state.average is not None:
        state.average.update(state.net)
    state.loss_sum = state.loss_sum + sums[0]
    state.term_sums[: len(objective.names)] += sums[1:]
    seen = torch.where(sums[0].isfinite(), NEVER, state.step + 1)
    state.bad_step = torch.minimum(state.bad_step, seen)


def _terms(state: TrainingState, recipe: Recipe, objective: Objective, part: Part) -> Terms:
    """Of one pass; terms are computed in float32, also of a network that runs in bf16."""
    device = part.pixels_BCHW.device
    with torch.autocast(device.type, torch.bfloat16, enabled=uses_bf16(recipe, device)):
        given = state.run(part.pixels_BCHW)
    logits, seen = given if objective.taps else (given, {})
    return objective.terms(state.net, logits, seen, part)


def _without_sync(state: TrainingState, *, last: bool) -> AbstractContextManager[Any]:
    """Gradients are summed over processes once an update, after its last part."""
    return nullcontext() if last or state.shared is None else state.shared.no_sync()
