"""An update in parts: one after another in one process, or in several processes at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.shells import torchrun
from tests.trainings import training
from vhs.training.recipe import Recipe


def test_accumulated_parts_are_one_update(tmp_path: Path, toy_shards: Path) -> None:
    logs = []
    for parts in (1, 3):
        recipe = Recipe(depth=2, dim=8, heads=2, patch=14, batch=24, epochs=2, mixup=0.5, accumulate=parts, clip=1.0)
        run = training(tmp_path / str(parts), toy_shards, recipe=recipe)
        assert run.run(resuming=False)
        logs.append([row["train_loss"] for row in run.log])
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)


@pytest.mark.slow
def test_two_processes_draw_the_curve_of_one(tmp_path: Path, toy_shards: Path) -> None:
    settings = [x for key in ("mixup=0.8", "cutmix=1.0", "crop=true", "flip=true", "drop_path=0.3", "ema=0.9", "clip=1.0",
                              "erase=0.25", "accumulate=2") for x in ("--set", key)]  # fmt: skip
    sizes = ["--depth", "2", "--dim", "16", "--heads", "2", "--patch", "14", "--epochs", "4", "--batch", "24"]
    logs = []
    for ranks in (1, 2):
        out = tmp_path / f"m{ranks}.safetensors"
        done = torchrun(ranks, "train", toy_shards, *sizes, *settings, "--threads", 1, "--device", "cpu", "-o", out)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(str(out)) == 1
        logs.append(pl.read_csv(out.with_suffix(".train.csv")))
    one, two = logs
    assert np.allclose(one["train_loss"], two["train_loss"], rtol=1e-4) and one["n"].to_list() == two["n"].to_list()
    assert np.allclose(one["loss"], two["loss"], rtol=1e-3)


@pytest.mark.slow
def test_more_processes_than_a_batch_can_be_shared_by_is_said(tmp_path: Path, toy_shards: Path) -> None:
    options = ("--patch", 14, "--batch", 6, "--device", "cpu", "-o", tmp_path / "x.safetensors")
    done = torchrun(2, "train", toy_shards, *options)
    assert done.returncode != 0 and "batch 6 cannot be shared in pairs by 2 processes" in done.stderr
