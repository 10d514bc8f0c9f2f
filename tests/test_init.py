"""Beginning with another model, or with sets that do not fit it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainings import training, weights
from vhs.errors import MismatchError
from vhs.fitting import start
from vhs.formats import checkpoints
from vhs.formats.shards import ShardSet
from vhs.models.building import build
from vhs.training.recipe import Recipe


def test_weights_are_fitted_to_other_sizes_channels_and_classes(toy_checkpoint: Path) -> None:
    size = start.Size(56, 42, 3, ("x", "y"))
    began = start.from_model(str(toy_checkpoint), size)
    net = build(began.spec)
    state = net.state_dict() | began.weights
    net.load_state_dict(state, strict=True)
    assert net(torch.zeros(1, 3, 56, 42)).shape == (1, 2) and "head.weight" not in began.weights
    old = weights(str(toy_checkpoint))
    assert torch.allclose(
        began.weights["patch_embed.proj.weight"].sum(1), old["patch_embed.proj.weight"].sum(1), atol=1e-6
    )
    assert torch.equal(began.weights["blocks.1.mlp.fc1.weight"], old["blocks.1.mlp.fc1.weight"])
    same = start.from_model(
        str(toy_checkpoint), start.Size(42, 28, 1, tuple(checkpoints.read_info(toy_checkpoint).classes))
    )
    assert torch.equal(same.weights["head.weight"], old["head.weight"])


def test_a_run_is_continued_only_as_it_was_begun(vhs, toy_checkpoint: Path, toy_shards: Path, tmp_path: Path) -> None:
    begun = training(
        tmp_path, toy_shards, begin=str(toy_checkpoint), stop=lambda: True, recipe=Recipe(epochs=2, batch=24, patch=14)
    )
    assert not begun.run(resuming=False)
    with pytest.raises(MismatchError, match="was begun with parent"):
        training(tmp_path, toy_shards, recipe=Recipe(epochs=2, batch=24, patch=14)).run(resuming=True)
    small = ("train", toy_shards, "--patch", 14, "--depth", 1, "--dim", 8, "--heads", 2, "--epochs", 2, "--batch", 24)
    assert vhs(*small, "-o", "a.safetensors")[0] == 0
    code, _, err = vhs(*small, "--resume", "--init", toy_checkpoint, "-o", "a.safetensors")
    assert code == 0 and "already trained" not in err and "of no account, the sizes are those of" in err


def test_sets_that_do_not_fit_are_refused(toy_shards: Path) -> None:
    from vhs.fitting.start import check_pair

    train, val = (ShardSet.open(toy_shards / split) for split in ("train", "val"))
    other = ShardSet(val.folder, type(val.manifest)(**{**vars(val.manifest), "classes": ("a",) * 5}))
    with pytest.raises(MismatchError, match="its classes are not those of"):
        check_pair(train, other)
