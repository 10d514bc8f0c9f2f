"""Training runs as they begin and go on on the GPU that is not there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from tests.cuda_models import images, numbers
from tests.fake_cuda import DEVICE, fake, moved, on_cuda
from vhs.errors import VhsError
from vhs.fitting import teaching
from vhs.fitting.training import Training
from vhs.formats.references import Loaded
from vhs.models.building import build
from vhs.models.model import Model, Preprocess
from vhs.training import feed, loop, optimization
from vhs.training.objective import Objective
from vhs.training.recipe import Recipe

ALL = {
    "depth": 2, "dim": 12, "heads": 3, "patch": 14, "batch": 8, "epochs": 2, "crop": True, "flip": True, "erase": 0.5,
    "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1, "drop_path": 0.2, "clip": 1.0, "accumulate": 2,
    "layer_scale": 1e-4, "layer_decay": 0.8, "repeats": 2, "ema": 0.9,
}  # fmt: skip
RECIPES = {
    "everything": ALL,
    "nothing": {"depth": 2, "dim": 12, "heads": 3, "patch": 14, "batch": 8, "precision": "float32"},
    "mixup alone": ALL | {"cutmix": 0.0, "accumulate": 1, "ema": 0.0},
    "cutmix alone": ALL | {"mixup": 0.0, "layer_decay": 1.0},
    "smoothing alone": ALL | {"mixup": 0.0, "cutmix": 0.0, "repeats": 1},
    "low rank": ALL | {"lora": 2},
    "first block frozen": ALL | {"freeze": "1", "positions": "sincos"},
    "classifier alone": ALL | {"freeze": "all", "pool": "avg"},
    "small data": ALL | {"spt": True, "lsa": True, "last_residual": False},
    "learned gates": ALL | {"prune_gates": 0.1},
    "heads by schedule": ALL | {"prune_to": 3},
    "normalised patches": ALL | {"patch_norm": True, "registers": 2},
}
SPLIT = 16
STATS = Preprocess(height=42, width=28, channels=1, mean=(0.5,), std=(0.25,))


TAUGHT = {
    "attention": {"distill": "attention,logits"},
    "attention, the source's": {"distill": "attention", "distill_loss": "mse", "alpha": 0.01},
    "averages": {"distill": "attention", "distill_heads": "mean", "distill_loss": "ce"},
    "matched heads": {"distill": "attention", "distill_heads": "match"},
    "named heads": {"distill": "attention", "grain": "head:0.1:1.2"},
    "relations": {"distill": "attention", "distill_heads": "relations"},
    "token": {"distill": "token"},
    "adaptive": {"distill": "attention", "adaptive": "both", "adaptive_control": True, "mixup": 0.0, "cutmix": 0.0,
                 "accumulate": 1},
    "another grid": {"distill": "attention", "patch": 7, "lsa": True},
}  # fmt: skip
DIVERSE = {
    "diverse heads": {"diversity": 1.0}, "all layers, some pairs": {"diversity": 1.0, "diversity_layers": "all",
                                                                   "diversity_pairs": 2},
    "learned gates": {"prune_gates": 0.1},
}  # fmt: skip


def begun(recipe: Recipe, objective: Objective | None = None) -> loop.TrainingState:
    """The state of a run of this recipe that begins, on the CPU."""
    spec = recipe.spec(channels=1, height=42, width=28, classes=5)
    return loop.start(recipe, spec, SPLIT, torch.device("cpu"), objective=objective)


def learned(recipe: Recipe) -> tuple[Objective, nn.Module]:
    """What is minimised, on the CPU, and the network of a teacher of the ordinary sizes."""
    spec = Recipe().with_values(RECIPES["nothing"], "teacher").spec(channels=1, height=42, width=28, classes=5)
    net = build(spec).eval().requires_grad_(False)
    teacher = Loaded(Model(net=net, preprocess=STATS, name="teacher", weights_id="", classes=tuple("abcde"), spec=spec))
    return teaching.objective(teaching.Lesson(
        recipe=recipe, spec=recipe.spec(channels=1, height=42, width=28, classes=5), outputs=tuple("abcde"),
        preprocess=STATS, device=torch.device("cpu"), calibration=lambda: torch.zeros(4, 1, 42, 28, dtype=torch.uint8),
        teacher=teacher if recipe.told else None,
    )), net  # fmt: skip


def on_device(objective: Objective, teacher: nn.Module) -> Objective:
    """What is minimised as it would be on the device."""
    moved(teacher)
    taught = objective.distillation
    assert taught is not None
    places = taught.teacher.places_O
    told = replace(taught.teacher, places_O=None if places is None else fake(places))
    attention = taught.attention
    if attention is not None:
        attention.pairs = [replace(pair, **{
            name: fake(value) for name, value in vars(pair).items() if isinstance(value, Tensor)
        }) for pair in attention.pairs]  # fmt: skip
    return replace(objective, distillation=replace(taught, teacher=told, assignment=None))


def brought(state: loop.TrainingState, recipe: Recipe) -> loop.TrainingState:
    """The state as it would have begun on the device. Fake tensors cannot be copied there, so it is begun before."""
    for net in (state.net, *([state.average.module] if state.average else [])):
        moved(net)
    with on_cuda():
        state.optimizer = optimization.optimizer(state.net, recipe, DEVICE)
    for name in ("loss_sum", "term_sums", "bad_step", "own_rows"):
        setattr(state, name, fake(getattr(state, name)))
    return state


def no_backward(state: loop.TrainingState) -> Callable[[Tensor], None]:
    """In the place of the backward pass: every weight that learns has a gradient."""

    def backward(loss: Tensor) -> None:
        assert loss.requires_grad and loss.device == DEVICE
        for parameter in state.net.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    return backward


def resident(recipe: Recipe, answers: Tensor) -> feed.Resident:
    """Samples that lie on the device."""
    return feed.Resident(recipe, feed.Samples(answers, numbers(SPLIT)), images(SPLIT, 1, 42, 28))


def check(state: loop.TrainingState) -> None:
    """A zero, which is what a fake tensor is taken for, is the number of a bad update."""
    with suppress(VhsError):
        Training._check_finite(SimpleNamespace(device=DEVICE, _saved_step=0), state, now=False)
