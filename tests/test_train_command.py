"""`vhs train`: its recipe, tracking, snapshots and mistakes."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest


class TestTrain:
    def test_flags_settings_and_files_resolve(self, vhs, toy_shards: Path) -> None:
        code, out, _ = vhs("train", toy_shards, "--heads", 2, "--set", "mixup=0.2", "--print-config")
        assert code == 0 and "heads = 2\n" in out and "mixup = 0.2\n" in out
        Path("r.toml").write_text(out)
        assert vhs("train", toy_shards, "--recipe", "r.toml", "--print-config")[1] == out
        for setting, message in (
            ("mixpu=1", "unknown key 'mixpu'. Did you mean mixup?"),
            ("lr=fast", "lr is 'fast', expected a number"),
            ("ema=1.0", "ema is 1.0, expected 0 to below 1"),
            ("lr", "expected key=value"),
        ):
            code, _, err = vhs("train", toy_shards, "--set", setting, "--print-config")
            assert code == 2 and message in err

    def test_sizes_that_do_not_fit(self, vhs, toy_shards: Path) -> None:
        for flags, message in (
            (("--patch", 4), "42x28 is not a whole number of 4 px patches"),
            (("--dim", 10, "--heads", 3, "--patch", 5), "dim 10 is no multiple of 3 heads"),
        ):
            code, _, err = vhs("train", toy_shards, *flags, "-o", "x.safetensors")
            assert code == 2 and message in err
        assert vhs("train", toy_shards)[0] == 2


def test_a_failing_tracker_is_a_warning(vhs, toy_shards: Path, monkeypatch) -> None:
    import types

    class Run:
        def __init__(self) -> None:
            self.rows: list[tuple[int, dict]] = []

        def log(self, row: dict, step: int) -> None:
            self.rows.append((step, row))
            if len(self.rows) == 2:
                raise RuntimeError("no route to host")

        def finish(self) -> None:
            raise AssertionError("not after a failure")

    run = Run()
    fake = types.SimpleNamespace(init=lambda **_: run, Settings=lambda **_: None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    small = ("--depth", 1, "--dim", 8, "--heads", 2, "--patch", 14, "--epochs", 3, "--batch", 40)
    code, _, err = vhs("train", toy_shards, *small, "--track", "wandb", "-o", "a.safetensors")
    assert code == 0 and err.count("wandb: no route to host; going on without it") == 1
    assert [step for step, _ in run.rows] == [3, 6] and run.rows[0][1]["top1"] >= 0
    monkeypatch.setitem(sys.modules, "wandb", None)
    code, _, err = vhs("train", toy_shards, *small, "--track", "wandb", "-o", "b.safetensors")
    assert code == 2 and "pip install 'vhs-heads[wandb]'" in err
    code, _, err = vhs("train", toy_shards, *small, "--track", "paper", "-o", "b.safetensors")
    assert code == 2 and "--track paper: expected wandb" in err


def test_snapshots_find_their_data_and_are_in_the_run(vhs, toy_shards: Path) -> None:
    small = ("train", toy_shards, "--patch", 14, "--depth", 1, "--dim", 8, "--heads", 2, "--epochs", 2, "--batch", 24)
    assert vhs(*small, "--snapshots", "log", "-o", "a.safetensors")[0] == 0
    code, _, err = vhs(
        "ablate", *sorted(Path("a.snapshots").iterdir()), "a.safetensors", "--max-samples", 40, "-o", "t.csv"
    )
    assert code == 0, err
    assert pl.read_csv("t.csv")["step"].unique().sort().to_list() == [1, 2, 4, 8, 10]
    code, _, err = vhs("plot", "t.csv", "--kind", "trajectory", "-o", "t.png")
    assert code == 0, err
    code, _, err = vhs(*small, "--snapshots", "0,99", "-o", "b.safetensors")
    assert code == 2 and "the run has updates 1 to 10" in err


def test_mistakes_are_one_line(vhs, toy_shards: Path, squares: Path, toy_checkpoint: Path) -> None:
    for options, code, told in (
        (("--set", "randaug=foo"), 2, "randaug 'foo': expected timm's words"),
        (("--set", "arch=vit_tiny_patch16_224"), 2, "do not divide them"),
        (("--set", "freeze=99", "--dry-run", "--patch", 14), 2, "freeze: 99 blocks, the model has 6"),
        (("--skip-bad", "--set", "resized_crop=true", "--patch", 14), 2, "--skip-bad: images are read while training"),
        (("--set", "mixup=.5x"), 2, "mixup is '.5x', expected a number"),
    ):
        found, _, err = vhs("train", toy_shards, *options, "-o", "x.safetensors")
        assert found == code and told in err and "Traceback" not in err, (options, err)
    assert vhs("train", toy_shards, "--patch", 14, "--set", "mixup=.5", "--dry-run", "-o", "x.safetensors")[0] == 0


def test_dry_run_tells_the_products_of_a_run(vhs, toy_shards: Path) -> None:
    """Three passes forward an image, a linear layer's product being 2 FLOPs a weight and token; a teacher's one."""
    sizes = ("--depth", 2, "--dim", 20, "--heads", 2, "--patch", 14, "--epochs", 3, "--batch", 24, "--dry-run")
    code, out, _ = vhs("train", toy_shards, *sizes, "-o", "x.safetensors")
    told = dict(line.split(None, 1) for line in out.splitlines())
    tokens, dim = 7, 20
    block = tokens * (4 * dim**2 + 2 * dim * 40) + 2 * tokens**2 * dim
    forward = 2 * (6 * dim * 14**2 + 2 * block + dim * 5)
    assert code == 0 and float(told["FLOPs"]) == pytest.approx(3 * forward * 3 * 120, rel=0.01)
    assert told["time"].startswith("about 1 s on c")
