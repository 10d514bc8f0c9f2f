"""Training runs that begin alike."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vhs.fitting.training import Training
from vhs.formats import checkpoints
from vhs.formats.shards import ShardSet
from vhs.training.criterion import Criterion
from vhs.training.objective import Objective
from vhs.training.recipe import Recipe

RECIPE = Recipe(depth=2, dim=14, heads=2, patch=14, epochs=3, batch=24, lr=5e-3, mixup=0.2, crop=True, flip=True, ema=0.9,
                drop_path=0.1, label_smoothing=0.1, clip=1.0)  # fmt: skip


def training(folder: Path, shards: Path, **change) -> Training:
    """A run that writes m.safetensors into the folder, with other options as told."""
    options = {
        "out": folder / "m.safetensors", "train": ShardSet.open(shards / "train"), "val": ShardSet.open(shards / "val"),
        "recipe": RECIPE, "device": torch.device("cpu"),
    }  # fmt: skip
    return Training(**(options | change))


def plain(recipe: Recipe, outputs: int, *, regression: bool = False) -> Objective:
    """The loss of the answers alone."""
    return Objective(Criterion(recipe, outputs, regression=regression))


def weights(path: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by name."""
    return checkpoints.load(Path(path))[1]
