"""Training: schedule, augmentation, exact resuming, and that it learns."""

import math
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from tests.trainings import RECIPE, training
from vhs.errors import VhsError
from vhs.fitting.opening import parse_snapshots
from vhs.seeds import sample_keys
from vhs.training.augmentation import augment
from vhs.training.recipe import Recipe
from vhs.training.schedule import affordable, learning_rate


def test_schedule_equals_an_independent_computation() -> None:
    recipe = Recipe(lr=0.01, min_lr=0.001, warmup_epochs=0.5)
    rates = [learning_rate(recipe, step, 30, 8) for step in range(30)]
    assert rates[:4] == pytest.approx([0.01 * (i + 1) / 5 for i in range(4)])
    assert rates[4] == pytest.approx(0.01) and rates[-1] == pytest.approx(0.001)
    for step in range(4, 30):
        share = (step - 4) / 25
        assert rates[step] == pytest.approx(0.001 + 0.009 * 0.5 * (1 + math.cos(math.pi * share)))


def test_a_shortened_schedule_still_ends_at_min_lr() -> None:
    recipe = Recipe()
    assert learning_rate(recipe, 49, 50, 78) == pytest.approx(recipe.min_lr)
    assert affordable(20, 10.0, 20, 60.0) == 20 + int(50 * 0.95 * 2)
    assert affordable(20, 80.0, 20, 60.0) == 20


def test_it_learns_and_writes_its_log(vhs, toy_shards: Path) -> None:
    code, out, _ = vhs("train", toy_shards, "--depth", 2, "--dim", 16, "--heads", 2, "--patch", 14, "--epochs", 16, "--batch", 20,
                       "--lr", 0.01, "-o", "m.safetensors")  # fmt: skip
    log = pl.read_csv("m.train.csv")
    assert log["model"].unique().to_list() == ["m.safetensors"]
    assert code == 0 and out == "m.safetensors\n" and log["step"].to_list() == [6 * e for e in range(1, 17)]
    assert log["top1"][-1] > 0.9 and log["train_loss"][-1] < 0.5 * log["train_loss"][0]


def test_two_runs_and_a_stopped_and_resumed_run_are_byte_identical(tmp_path: Path, toy_shards: Path) -> None:
    found = []
    for name, stops in (("a", ()), ("b", ()), ("c", (4, 7, 10))):
        folder = tmp_path / name
        pending, step = list(stops), [0]

        def stop(pending=pending, step=step) -> bool:
            step[0] += 1
            return bool(pending) and step[0] >= pending[0]

        while True:
            run = training(folder, toy_shards, stop=stop, snapshots=frozenset({5}))
            if run.run(resuming=True):
                break
            assert (folder / "m.resume").exists() and not (folder / "m.safetensors").exists()
            pending.pop(0)
        found.append(
            [(folder / f).read_bytes() for f in ("m.safetensors", "m.snapshots/step-000005.safetensors")] + [run.log]
        )
        assert not (folder / "m.resume").exists()
    assert found[0] == found[1] == found[2]


def test_a_run_killed_late_in_an_epoch_goes_on_from_the_middle(tmp_path: Path, toy_shards: Path, monkeypatch) -> None:
    monkeypatch.setattr("vhs.fitting.training.KEPT", 0.0)
    step = [0]

    def stop() -> bool:
        step[0] += 1
        if step[0] == 3:
            raise KeyboardInterrupt  # as if the machine went away: nothing is saved any more
        return False

    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "killed", toy_shards, stop=stop).run(resuming=False)
    resumed, whole = training(tmp_path / "killed", toy_shards), training(tmp_path / "whole", toy_shards)
    assert resumed.run(resuming=True) and whole.run(resuming=False)
    assert "continuing after update 2 of" in resumed.notes[0]
    assert (tmp_path / "killed/m.safetensors").read_bytes() == (tmp_path / "whole/m.safetensors").read_bytes()


@pytest.mark.slow
def test_compiled_training_is_that_of_eager_and_resumes(tmp_path: Path, toy_shards: Path) -> None:
    eager, compiled = (
        training(tmp_path / "eager", toy_shards),
        training(tmp_path / "compiled", toy_shards, compiled=True),
    )
    assert eager.run(resuming=False)
    compiled.stop = lambda: len(compiled.log) == 1
    assert not compiled.run(resuming=False)
    resumed = training(tmp_path / "compiled", toy_shards, compiled=True)
    assert resumed.run(resuming=True)
    columns = ["train_loss", "loss"]
    assert np.allclose(eager.table().select(columns), resumed.table().select(columns), rtol=1e-3)


def test_bf16_keeps_float32_weights_and_learns_alike(tmp_path: Path, toy_shards: Path) -> None:
    runs = [
        training(tmp_path / precision, toy_shards, recipe=replace(RECIPE, precision=precision))
        for precision in ("float32", "bf16")
    ]
    assert all(run.run(resuming=False) for run in runs)
    exact, coarse = (run.table()["train_loss"].to_numpy() for run in runs)
    assert np.allclose(exact, coarse, rtol=0.02) and not np.array_equal(exact, coarse)
    weights = load_file(tmp_path / "bf16/m.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_resuming_with_another_recipe_is_refused(vhs, tmp_path: Path, toy_shards: Path) -> None:
    training(tmp_path, toy_shards, stop=lambda: True).run(resuming=False)
    code, _, err = vhs("train", toy_shards, "--patch", 14, "--resume", "-o", tmp_path / "m.safetensors")
    assert code == 4 and "m.resume: was begun with batch 24, now it is 128" in err


def test_a_loss_that_is_not_finite_stops_with_the_update(tmp_path: Path, toy_shards: Path) -> None:
    with pytest.raises(VhsError, match=r"the loss of update 2 \(epoch 1\) is not finite. Start anew"):
        recipe = Recipe(depth=2, dim=14, heads=2, patch=14, batch=24, lr=1e30, epochs=4, warmup_epochs=0)
        training(tmp_path, toy_shards, recipe=recipe).run(resuming=False)
    assert not (tmp_path / "m.safetensors").exists()


def test_the_budget_shortens_honestly(tmp_path: Path, toy_shards: Path, monkeypatch) -> None:
    clock = iter(np.arange(0, 10_000, 0.5))
    monkeypatch.setattr("vhs.fitting.training.time.monotonic", lambda: next(clock))
    run = training(
        tmp_path, toy_shards, recipe=Recipe(depth=1, dim=8, heads=2, patch=14, batch=24, epochs=40), minutes=0.5
    )
    assert run.run(resuming=False)
    last = run.log[-1]
    assert 30 < last["step"] < 65 and last["steps_planned"] == last["step"] and last["lr"] == pytest.approx(1e-5)
    assert "cut 200 planned updates to" in run.notes[-1]


def test_augmentation_belongs_to_the_sample() -> None:
    images = torch.randint(0, 256, (9, 3, 16, 24), dtype=torch.uint8)
    keys = torch.from_numpy(sample_keys([str(i) for i in range(9)]).view(np.int64))
    whole = augment(images, keys, crop=True, flip=True, key=5)
    order = torch.tensor([3, 1, 4, 8, 5])
    assert torch.equal(augment(images[order], keys[order], crop=True, flip=True, key=5), whole[order])
    assert not torch.equal(augment(images, keys, crop=True, flip=True, key=6), whole)
    assert torch.equal(augment(images, keys, crop=False, flip=False, key=5), images)
    padded = torch.nn.functional.pad(images, (3, 3, 3, 3))
    for image, source in zip(whole, padded, strict=True):
        windows = source.unfold(1, 16, 1).unfold(2, 24, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert ((windows == image).flatten(1).all(1) | (windows.flip(-1) == image).flatten(1).all(1)).any()


def test_snapshot_steps() -> None:
    assert parse_snapshots("log", 20) == {1, 2, 4, 8, 16} and parse_snapshots("3,9", 20) == {3, 9}
    assert parse_snapshots(None, 20) == frozenset()


def test_ema_weights_are_saved_and_said(tmp_path: Path, toy_shards: Path) -> None:
    from vhs.formats import checkpoints

    training(tmp_path, toy_shards).run(resuming=False)
    assert checkpoints.read_info(tmp_path / "m.safetensors").weights == "ema"


@pytest.mark.parametrize(("dim", "ratio"), [(76, 2.3), (152, 8 / 3), (176, 8 / 3), (64, 2.0), (30, 1.1)])
def test_every_mlp_ratio_trains_to_a_loadable_model(dim: int, ratio: float) -> None:
    from vhs.models.building import build, parameter_shapes

    spec = Recipe(depth=1, dim=dim, heads=2, mlp_ratio=ratio).spec(channels=1, height=14, width=14, classes=3)
    assert {key: tuple(value.shape) for key, value in build(spec).state_dict().items()} == parameter_shapes(spec)


def test_mixup_with_an_odd_batch_is_refused(vhs, toy_shards: Path) -> None:
    code, _, err = vhs("train", toy_shards, "--batch", 23, "--set", "mixup=0.8", "-o", "m.safetensors")
    assert code == 2 and "batch 23 must be even" in err


def test_tokens_and_position_embeddings_are_not_decayed(toy_shards: Path) -> None:
    from timm.optim import create_optimizer_v2

    from vhs.training import loop

    spec = RECIPE.spec(channels=1, height=42, width=28, classes=5)
    state = loop.start(RECIPE, spec, 120, torch.device("cpu"))
    want = create_optimizer_v2(state.net, "adamw", weight_decay=RECIPE.weight_decay)
    decayed = [
        {id(p) for group in optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]}
        for optimizer in (state.optimizer, want)
    ]
    assert decayed[0] == decayed[1]


def test_resuming_a_finished_run_changes_nothing(vhs, toy_shards: Path) -> None:
    command = (
        "train",
        toy_shards,
        "--depth",
        1,
        "--dim",
        8,
        "--heads",
        2,
        "--patch",
        14,
        "--epochs",
        1,
        "-o",
        "m.safetensors",
    )
    assert vhs(*command)[0] == 0
    stamp = Path("m.safetensors").stat().st_mtime_ns
    code, out, err = vhs(*command, "--resume")
    assert code == 0 and out == "m.safetensors\n" and "is already trained" in err
    assert Path("m.safetensors").stat().st_mtime_ns == stamp
    assert vhs(*command, "--resume", "--seed", 1)[0] == 0 and Path("m.safetensors").stat().st_mtime_ns != stamp


def test_the_help_tells_the_recipes_defaults(vhs) -> None:
    shown = " ".join(vhs("train", "--help")[1].split())
    for name in ("depth", "dim", "heads", "patch", "epochs", "batch", "lr", "seed"):
        assert re.search(rf"--{name} .*?\[default: {getattr(Recipe(), name)}\]", shown), name


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))
from vhs.cli import main
sys.exit(main(sys.argv[2:]))
"""
SMALL = (
    "--depth",
    "2",
    "--dim",
    "64",
    "--heads",
    "2",
    "--patch",
    "14",
    "--epochs",
    "40",
    "--batch",
    "24",
    "--threads",
    "1",
)


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_gives_the_same_bytes(tmp_path: Path, toy_shards: Path) -> None:
    command = [sys.executable, "-m", "vhs", "train", str(toy_shards), *SMALL, "--set", "mixup=0.8", "--resume", "-o"]
    begun = time.monotonic()
    whole = subprocess.run([*command, str(tmp_path / "a.safetensors")], capture_output=True, text=True)
    taken = time.monotonic() - begun
    assert whole.returncode == 0, whole.stderr
    rng, kills = np.random.default_rng(0), 0
    out = tmp_path / "b.safetensors"
    while not out.exists() or not kills:
        if out.exists():  # the machine has become faster since the first run
            out.unlink()
            taken /= 2
        process = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[kills % 3]
        try:
            process.wait(taken * (0.5 + 0.1 * kills + rng.uniform(0, 0.1)))
        except subprocess.TimeoutExpired:
            process.send_signal(ends)
            code = process.wait()
            kills += 1
            assert code in {signal.SIGKILL: (-9, 0), signal.SIGTERM: (143, 0, -15), signal.SIGINT: (130, 0, -2)}[ends]
        assert kills < 25
    assert (tmp_path / "a.safetensors").read_bytes() == out.read_bytes()
    logs = [(tmp_path / f"{name}.train.csv").read_text().replace(f"{name}.safetensors", "") for name in "ab"]
    assert logs[0] == logs[1] != ""
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".") or path.suffix in (".resume", ".tmp")]


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_state_before_is_kept(tmp_path: Path, toy_shards: Path) -> None:
    out = tmp_path / "m.safetensors"
    begun = training(tmp_path, toy_shards, stop=lambda: True, recipe=Recipe(depth=2, dim=64, heads=2, patch=14, epochs=3,
                                                                            batch=24))  # fmt: skip
    assert not begun.run(resuming=False)
    kept = (tmp_path / "m.resume").read_bytes()
    command = [sys.executable, "-c", LIMITED, "100000", "train", str(toy_shards), "--depth", "2", "--dim", "64", "--heads", "2",
               "--patch", "14", "--epochs", "3", "--batch", "24", "--resume", "-o", str(out)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "m.resume" in done.stderr and "File too large" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and (tmp_path / "m.resume").read_bytes() == kept
    assert {path.name for path in tmp_path.iterdir()} <= {"m.resume", "m.train.csv"}
