"""The Makefile and the shell loop of docs/pipelines.md, run as they stand there, on less data."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.shells import environment

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "pipelines.md").read_text()
SMALL = {"SHIFT": "contrast:3", "FLAGS": "--depth 1 --dim 16 --heads 2 --batch 1000", "EPOCHS": "1"}


def block(language: str, heading: str) -> str:
    return re.search(rf"## {heading}.*?```{language}\n(.*?)```", PAGE, re.S).group(1)


def make(folder: Path, env: dict[str, str], *words: str) -> str:
    options = [f"{key}={value}" for key, value in SMALL.items()]
    done = subprocess.run(["make", *options, *words], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_the_makefile_and_the_loop(tmp_path: Path, vhs_program: Path) -> None:
    env = environment(PATH=f"{vhs_program.parent}:{os.environ['PATH']}")
    (tmp_path / "Makefile").write_text(block("make", "A Makefile of your own"))
    make(tmp_path, env, "-j2")
    figures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert figures == ["s0.png", "s1.png", "shift.png"]
    assert "Nothing to be done" in make(tmp_path, env)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    (tmp_path / "runs" / "s1.safetensors").touch()
    make(tmp_path, env, "-j2")
    redone = {
        path.relative_to(tmp_path).as_posix() for path, stamp in before.items() if path.stat().st_mtime_ns != stamp
    }
    assert redone == {
        "runs/s1.safetensors", "tables/s1.csv", "tables/s1.folds.parquet", "figures/s1.png", "tables/shift.csv", "tables/shift.calibration.parquet", "figures/shift.png",
    }  # fmt: skip
    (tmp_path / "loop").mkdir()
    loop = block("sh", "The same as a shell loop").replace("imagenet-c", SMALL["SHIFT"])
    loop = loop.replace("--seed $seed", f"--seed $seed --epochs 1 {SMALL['FLAGS']}")
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", loop], cwd=tmp_path / "loop", env=env, check=True, capture_output=True
    )
    for name in ("runs/s0.safetensors", "tables/s1.folds.parquet", "tables/s0.csv", "figures/s1.png"):
        same = name.endswith((".safetensors", ".csv", ".png"))
        assert not same or (tmp_path / name).read_bytes() == (tmp_path / "loop" / name).read_bytes(), name
