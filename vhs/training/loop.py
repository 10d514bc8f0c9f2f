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
from typing import Any, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vhs.errors import UsageError
from vhs.models.building import build
from vhs.models.model import Preprocess
from vhs.models.spec import Spec
from vhs.seeds import seed_generators
from vhs.training import droppath, feed, optimization
from vhs.training.augmentation import augment, epoch_key, erase
from vhs.training.criterion import Criterion
from vhs.training.feed import Examples, Feed
from vhs.training.lora import merge
from vhs.training.recipe import Recipe
from vhs.training.schedule import learning_rate
from vhs.world import world

NEVER = 2**62
SAME_DRAWS: dict[str, Any] = {"fallback_random": True}
"""A compiled network draws (drop path) what it draws uncompiled, not by a generator of the compiler's."""


@dataclass
class TrainingState:
    """Everything an update changes. planned: updates the recipe asks for; total: those the schedule is laid out for.

    run: the network as it is called, compiled or shared between processes. loss_sum: float64 scalar tensor, sum of
    the losses of this epoch's updates so far; bad_step: int64 scalar tensor, the first update whose loss was not
    finite. rows: which rows of the whole batch run; own_rows: those of this process; shared: what sums its gradients.
    """

    net: nn.Module
    run: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    average: ModelEmaV3 | None
    step: int
    planned: int
    total: int
    per_epoch: int
    batch: int
    loss_sum: Tensor
    bad_step: Tensor
    rows: droppath.Rows
    own_rows: Tensor
    shared: DistributedDataParallel | None = None

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

    def weights(self, saved: str) -> nn.Module:
        """With plain weights: the average, where one is kept and `saved` is `ema`, or the network."""
        return merge(self.average.module if self.average is not None and saved == "ema" else self.net)


def start(
    recipe: Recipe, spec: Spec, samples: int, device: torch.device, *, initial: dict[str, Tensor] | None = None,
    compiled: bool = False,
) -> TrainingState:  # fmt: skip
    """A run at its beginning, over `samples` training samples. initial: weights to begin with, in place of timm's own.

    Raises UsageError where mixup would get an odd batch, or processes would get unequal parts.
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
    net = net.to(device).train()
    optimization.hold(net)
    rows = droppath.share(net)
    per_epoch = recipe.updates_per_epoch(samples)
    planned = recipe.epochs * per_epoch
    shared = _share(net, device)
    return TrainingState(
        net=net, run=torch.compile(shared or net, options=SAME_DRAWS) if compiled else shared or net,
        optimizer=optimization.optimizer(net, recipe, device),
        average=ModelEmaV3(net, decay=recipe.ema) if recipe.ema else None, step=0, planned=planned, total=planned,
        per_epoch=per_epoch, batch=batch, loss_sum=torch.zeros((), dtype=torch.float64, device=device),
        bad_step=torch.full((), NEVER, dtype=torch.int64, device=device), rows=rows,
        own_rows=feed.rows(batch).to(device), shared=shared,
    )  # fmt: skip


def updates(
    state: TrainingState, recipe: Recipe, source: Feed, preprocess: Preprocess, *, regression: bool = False
) -> Iterator[float]:
    """Run one update after another until `state.total`; yields the learning rate of each, after it.

    The caller may lower `state.total` between updates.
    """
    outputs = source.samples.answers_N.shape[-1] if regression else _outputs(state.net)
    criterion = Criterion(recipe, outputs, regression=regression)
    while state.step < state.total:
        epoch, within = state.epoch, state.step % state.per_epoch
        if within == 0:
            state.loss_sum = torch.zeros_like(state.loss_sum)
        for examples in source.epoch(epoch, within):
            rate = learning_rate(recipe, state.step, state.total, state.per_epoch)
            with seed_generators(recipe.seed, "step", state.step):
                _update(state, recipe, criterion, _pixels(recipe, epoch, examples, preprocess), rate)
            state.step += 1
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
    return copy.deepcopy(net).eval().requires_grad_(False)


def _share(net: nn.Module, device: torch.device) -> DistributedDataParallel | None:
    """The network with gradients summed over processes; None where it is alone."""
    if world()[1] == 1:
        return None
    return DistributedDataParallel(net, device_ids=[device] if device.type == "cuda" else None)


def _outputs(net: Any) -> int:
    return int(net.num_classes)


def _pixels(recipe: Recipe, epoch: int, examples: Examples, preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    key = epoch_key(recipe.seed, epoch)
    images = augment(examples.images_BCHW, examples.keys_B, crop=recipe.crop, flip=recipe.flip, key=key)
    return erase(preprocess(images), examples.keys_B, recipe.erase, key), examples.answers_B


def _update(
    state: TrainingState, recipe: Recipe, criterion: Criterion, batch: tuple[Tensor, Tensor], rate: float
) -> None:
    pixels, answers = criterion.mix(*batch)
    state.optimizer.zero_grad(set_to_none=True)
    parts = zip(*(part.chunk(recipe.accumulate) for part in (pixels, answers, state.own_rows)), strict=True)
    losses = []
    for index, (images, targets, rows) in enumerate(parts):
        state.rows.batch, state.rows.rows_b = state.batch, rows
        with _without_sync(state, last=index == recipe.accumulate - 1):
            with torch.autocast(pixels.device.type, torch.bfloat16, enabled=uses_bf16(recipe, pixels.device)):
                loss = criterion(state.run(images).float(), targets) / recipe.accumulate
            loss.backward()
        losses.append(loss.detach().double())
    total = _average(torch.stack(losses).sum())
    if recipe.clip:
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), recipe.clip)
    optimization.set_rate(state.optimizer, rate)
    state.optimizer.step()
    if state.average is not None:
        state.average.update(state.net)
    state.loss_sum = state.loss_sum + total
    seen = torch.where(total.isfinite(), NEVER, state.step + 1)
    state.bad_step = torch.minimum(state.bad_step, seen)


def _without_sync(state: TrainingState, *, last: bool) -> AbstractContextManager[Any]:
    """Gradients are summed over processes once an update, after its last part."""
    return nullcontext() if last or state.shared is None else state.shared.no_sync()


def _average(loss: Tensor) -> Tensor:
    """The mean of all processes' losses, each of as many samples."""
    if world()[1] > 1:
        torch.distributed.all_reduce(loss)
        loss = loss / world()[1]
    return loss
