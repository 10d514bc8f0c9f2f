"""The training loop: a generator of updates. The caller prints, saves and stops.

Every draw belongs to (seed, epoch, sample) or (seed, step), so a run resumes exactly from its
weights, optimizer state and step number.

Letters: N training samples, B samples of an update, C channels, H height, W width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch import Tensor

from vhs.errors import UsageError
from vhs.models.model import Preprocess, build
from vhs.models.spec import ViTSpec
from vhs.seeds import hash64, seeded
from vhs.training.augmentation import augment, epoch_key
from vhs.training.recipe import Recipe
from vhs.training.schedule import learning_rate


class Samples(NamedTuple):
    """The training split on the device: images_NCHW uint8, labels_N and keys_N int64."""

    images_NCHW: Tensor
    labels_N: Tensor
    keys_N: Tensor


@dataclass
class TrainingState:
    """Everything an update changes. planned: updates the recipe asks for; total: those the schedule is laid out for.

    loss_sum: float64 scalar tensor, sum of the losses of this epoch's updates so far.
    """

    net: VisionTransformer
    optimizer: torch.optim.Optimizer
    average: ModelEmaV3 | None
    step: int
    planned: int
    total: int
    per_epoch: int
    loss_sum: Tensor

    @property
    def epoch(self) -> int:
        """The epoch the next update belongs to, 0-based."""
        return self.step // self.per_epoch

    def steps_in_epoch(self) -> int:
        """Updates done in the epoch of the last update, at least 1."""
        return (self.step - 1) % self.per_epoch + 1

    def saved_net(self) -> VisionTransformer:
        """The weights a checkpoint gets: the average where the recipe keeps one."""
        return self.net if self.average is None else self.average.module


def start(recipe: Recipe, spec: ViTSpec, samples: int, device: torch.device) -> TrainingState:
    """A freshly initialised run over `samples` training samples.

    Weight decay leaves out what timm leaves out: biases, norms, tokens and position embeddings.
    Raises UsageError where mixup would get an odd batch.
    """
    with seeded(recipe.seed, "weights"):
        net = build(spec, drop_path=recipe.drop_path).to(device).train()
    if recipe.mixup and min(samples, recipe.batch) % 2:
        raise UsageError(f"mixup pairs samples, and a batch would hold all {samples}. Set an even batch below that.")
    groups = param_groups_weight_decay(net, recipe.weight_decay, no_weight_decay_list=net.no_weight_decay())
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, fused=device.type == "cuda")
    per_epoch = max(samples // recipe.batch, 1)
    planned = recipe.epochs * per_epoch
    return TrainingState(
        net=net, optimizer=optimizer, average=ModelEmaV3(net, decay=recipe.ema) if recipe.ema else None, step=0,
        planned=planned, total=planned, per_epoch=per_epoch,
        loss_sum=torch.zeros((), dtype=torch.float64, device=device),
    )  # fmt: skip


def updates(state: TrainingState, recipe: Recipe, samples: Samples, preprocess: Preprocess) -> Iterator[float]:
    """Run one update after another until `state.total`; yields the learning rate of each, after it.

    The caller may lower `state.total` between updates.
    """
    criterion = _Criterion(recipe, classes=state.net.num_classes)
    order_N = _epoch_order(recipe.seed, state.epoch, samples)
    while state.step < state.total:
        within = state.step % state.per_epoch
        if within == 0:
            state.loss_sum = torch.zeros_like(state.loss_sum)
            order_N = _epoch_order(recipe.seed, state.epoch, samples)
        rate = learning_rate(recipe, state.step, state.total, state.per_epoch)
        chosen_B = order_N[within * recipe.batch : (within + 1) * recipe.batch]
        with seeded(recipe.seed, "step", state.step):
            _update(state, recipe, criterion, _pixels(state, recipe, samples, preprocess, chosen_B), rate)
        state.step += 1
        yield rate


def uses_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Whether to train in bf16: as asked, or for `auto` where the device gains by it (CUDA; a CPU loses)."""
    if recipe.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return recipe.precision == "bf16"


class _Criterion:
    """Cross-entropy with label smoothing, or timm's mixup with its soft targets."""

    def __init__(self, recipe: Recipe, classes: int) -> None:
        self._smoothing = recipe.label_smoothing
        self._mixup = None
        if recipe.mixup:
            self._mixup = Mixup(
                mixup_alpha=recipe.mixup, label_smoothing=recipe.label_smoothing, num_classes=classes
            )  # fmt: skip

    def mix(self, pixels_BCHW: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        if self._mixup is None:
            return pixels_BCHW, labels_B
        return self._mixup(pixels_BCHW, labels_B)

    def __call__(self, logits_BC: Tensor, targets: Tensor) -> Tensor:
        if targets.dim() == 2:
            return SoftTargetCrossEntropy()(logits_BC, targets)
        return F.cross_entropy(logits_BC, targets, label_smoothing=self._smoothing)


def _pixels(
    state: TrainingState, recipe: Recipe, samples: Samples, preprocess: Preprocess, chosen_B: Tensor
) -> tuple[Tensor, Tensor]:
    key = epoch_key(recipe.seed, state.epoch)
    images = augment(
        samples.images_NCHW[chosen_B], samples.keys_N[chosen_B], crop=recipe.crop, flip=recipe.flip, key=key
    )
    return preprocess(images), samples.labels_N[chosen_B]


def _update(
    state: TrainingState, recipe: Recipe, criterion: _Criterion, batch: tuple[Tensor, Tensor], rate: float
) -> None:
    pixels, targets = criterion.mix(*batch)
    device = pixels.device.type
    with torch.autocast(device, torch.bfloat16, enabled=uses_bf16(recipe, pixels.device)):
        loss = criterion(state.net(pixels).float(), targets)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if recipe.clip:
        torch.nn.utils.clip_grad_norm_(state.net.parameters(), recipe.clip)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.step()
    if state.average is not None:
        state.average.update(state.net, step=state.step)
    state.loss_sum = state.loss_sum + loss.detach().double()


def _epoch_order(seed: int, epoch: int, samples: Samples) -> Tensor:
    """Sample positions in the order of this epoch."""
    generator = torch.Generator().manual_seed(hash64(seed, "order", epoch) & (2**63 - 1))
    return torch.randperm(len(samples.labels_N), generator=generator).to(samples.labels_N.device)


def frozen_copy(net: VisionTransformer) -> VisionTransformer:
    """A copy in eval mode, for measuring in the middle of training."""
    return copy.deepcopy(net).eval().requires_grad_(False)
