"""Training runs as they begin and go on on the GPU that is not there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace

import torch
from torch import Tensor

from tests.cuda_models import images, numbers
from tests.fake_cuda import DEVICE, fake, moved, on_cuda
from vhs.errors import VhsError
from vhs.fitting.training import Training
from vhs.models.model import Preprocess
from vhs.training import feed, loop, optimization
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
    "normalised patches": ALL | {"patch_norm": True, "registers": 2},
}
SPLIT = 16
STATS = Preprocess(height=42, width=28, channels=1, mean=(0.5,), std=(0.25,))


def begun(recipe: Recipe) -> loop.TrainingState:
    """The state of a run of this recipe that begins, on the CPU."""
    return loop.start(recipe, recipe.spec(channels=1, height=42, width=28, classes=5), SPLIT, torch.device("cpu"))


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
