"""What docs/clusters.md shows, run with a stand-in scheduler: the array of parts, the Snakefile, training over nodes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.shells import environment, torchrun

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "clusters.md").read_text()
FEW = "--max-samples 40"
"""3 tiles of 16, so that each of 3 parts has one."""


def block(heading: str, language: str, number: int = 0) -> str:
    part = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", part, re.S)[number]


def small(text: str, shift: str = "imagenet-c") -> str:
    """The page's 40 parts as 3, of smaller tiles; shift: in the place of imagenet-c."""
    text = text.replace("--shift imagenet-c", f"--shift {shift}")
    for whole, few in {"40%8": "3%2", "0-39%8": "0-2%2", '"/40': '"/3', "0..39": "0..2", "--tile 64 --threads 8":
                       "--tile 16 --threads 1", "cpus-per-task=8": "cpus-per-task=1"}.items():  # fmt: skip
        text = text.replace(whole, few)
    return text


@pytest.fixture
def programs(vhs_program: Path) -> dict[str, str]:
    """An environment in which `vhs` is this vhs."""
    return environment(PATH=f"{vhs_program.parent}:{os.environ['PATH']}")


def process(folder: Path) -> dict[str, str]:
    """The same with a `vhs` that is a process of its own, which can be killed."""
    folder.mkdir()
    (folder / "vhs").write_text(f'#!/bin/bash\nexec {sys.executable} -m vhs "$@"\n')
    (folder / "vhs").chmod(0o755)
    return environment(PATH=f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def place(tmp_path: Path, toy_checkpoint: Path, toy_shards: Path) -> Path:
    """A folder with models and data, as the page has them."""
    folder = tmp_path / "place"
    (folder / "runs").mkdir(parents=True)
    shutil.copytree(toy_shards, folder / "data")
    for name in ("s0", "s1", "with space"):
        shutil.copy(toy_checkpoint, folder / "runs" / f"{name}.safetensors")
    return folder


def bash(script: str, folder: Path, env: dict[str, str], **more: str) -> str:
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env | more, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Scheduler:
    """Starts each task of an array script as Slurm would, one after another."""

    def __init__(self, script: Path, env: dict[str, str]) -> None:
        text = script.read_text()
        found = re.search(r"--array=(\d+)-(\d+)(?:%\d+)?", text)
        assert found and "--requeue" in text
        self.tasks = range(int(found[1]), int(found[2]) + 1)
        self._script, self._env = script, env

    def start(self, task: int) -> subprocess.Popen[str]:
        names = {"ID": task, "COUNT": len(self.tasks), "MIN": self.tasks[0], "MAX": self.tasks[-1], "STEP": 1}
        values = {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}
        return subprocess.Popen(
            ["bash", str(self._script)], cwd=self._script.parent, env=self._env | values, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, task: int) -> str:
        process = self.start(task)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return err


@pytest.mark.parametrize(
    ("models", "shift", "conditions"),
    [(3, "imagenet-c:3", 16), pytest.param(50, "imagenet-c", 76, marks=pytest.mark.slow)],
)
def test_the_example_with_a_task_that_is_killed_and_queued_again(
    place: Path, programs: dict[str, str], tmp_path: Path, models: int, shift: str, conditions: int
) -> None:
    for number in range(models - 3):
        shutil.copy(place / "runs" / "s0.safetensors", place / "runs" / f"t{number}.safetensors")
    example = small(block("A Slurm array", "sh"), shift).replace("--tile 16", f"{FEW} --tile 16")
    example = example.replace("sbatch shift.sbatch", "")
    bash(example, place, programs)
    printed = (place / "shift.sbatch").read_text()
    shown = small(block("A Slurm array", "sh", 1), shift).splitlines()
    plan = ("# data ", "# conditions ", "# memory ", "# tile ")
    told = [line.replace(f"{FEW} ", "") for line in printed.splitlines() if not line.startswith(plan)]
    assert told == shown and sum(line.startswith(plan) for line in printed.splitlines()) == 4
    scheduler = Scheduler(place / "shift.sbatch", programs)
    killed = Scheduler(place / "shift.sbatch", process(tmp_path / "bin")).start(1)
    until = time.monotonic() + 120
    while not list(place.glob("shift.1.part.partial/*.tallies")) and time.monotonic() < until:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and not (place / "shift.1.part").exists()
    said = [scheduler.run(task) for task in scheduler.tasks]
    found = re.search(rf"continuing after (\d+) of {conditions} conditions", said[1])
    assert found and 1 <= int(found[1]) < conditions and f"continuing after 0 of {conditions}" in said[0]
    assert "part 2/3 is complete already" in scheduler.run(2)
    merging = printed.splitlines()[-1].removeprefix("# ")
    bash(merging, place, programs)
    merged = [(place / name).read_bytes() for name in ("shift.csv", "shift.calibration.parquet")]
    command = re.search(r"(vhs evalshift .*?) --part", printed)
    assert command
    bash(f"{command[1]} -o shift.csv", place, programs)
    assert (place / "shift.csv").read_bytes() == merged[0]
    import polars as pl

    assert pl.read_parquet(merged[1]).equals(pl.read_parquet(place / "shift.calibration.parquet"))
    each = models * conditions
    assert merged[0].count(b"\n") == 1 + each * 6  # all samples, five classes


def test_names_with_blanks_and_options_of_the_merge(place: Path, programs: dict[str, str]) -> None:
    command = f"vhs ablate 'runs/with space.safetensors' --data data/val --shift contrast:3 {FEW} --threads 1 --tile 16"
    second = "--folds 'my folds.csv' --per-sample='my answers.csv'"
    bash(f"{command} {second} -o 'a b.csv' --dry-run --sbatch 2 > script", place, programs)
    scheduler = Scheduler(place / "script", programs)
    for task in scheduler.tasks:
        scheduler.run(task)
    merging = (place / "script").read_text().splitlines()[-1].removeprefix("# ")
    bash(merging, place, programs)
    names = ("a b.csv", "my folds.csv", "my answers.csv")
    merged = [(place / name).read_bytes() for name in names]
    bash(f"{command} {second} -o 'a b.csv'", place, programs)
    assert merged == [(place / name).read_bytes() for name in names]


def test_a_script_says_what_all_tasks_must_have_alike(vhs, monkeypatch, toy_checkpoint: Path) -> None:
    words = ["ablate", toy_checkpoint, "--fill-data", "https://me:secret@host/x", "--dry-run", "--sbatch=7", "-ox.csv"]
    monkeypatch.setattr("sys.argv", ["vhs", *map(str, words)])
    code, out, err = vhs(*words)
    assert code == 0, err
    assert "--array=0-6 " in out and "secret" not in out and "https://host/x" in out
    assert re.search(r"--tile \d+ --threads \d+ --part \"\$SLURM_ARRAY_TASK_ID\"/7 --resume -o x\.\"\$SLURM", out)
    assert "# The URLs below had a user, password or query" in out
    assert "# vhs merge x.{0..6}.part -o x.csv\n" in out and "of the parts measure nothing" in out
    words = ["ablate", "@-", "--dry-run", "--sbatch", 2, "-o", "x.csv"]
    monkeypatch.setattr("sys.argv", ["vhs", *map(str, words)])
    code, _, err = vhs(*words)
    assert code == 2 and err == "vhs ablate: @-: tasks of an array have no stdin. Name files.\n"


class Names(list):
    """What a Snakefile calls input and output: all in a row, or one by its place."""

    def __format__(self, _spec: str) -> str:
        return " ".join(self)


def rules(text: str) -> dict[str, dict[str, str]]:
    """The directives of each rule."""
    found = {}
    for name, body in re.findall(r"rule (\w+):\n((?:    .*\n)+)", text):
        found[name] = dict(re.findall(r"    (\w+): (.*)\n", body))
    return found


def test_the_shell_lines_of_the_snakefile(place: Path, programs: dict[str, str]) -> None:
    text = block("Snakemake", "python")
    assert len(text.splitlines()) == 15
    known: dict[str, object] = {}
    exec(text.split("rule plot")[0], known)
    few = f"--shift contrast:3 --data data/val {FEW} --tile 16"
    parts = range(3)
    run = str(known["RUN"]).replace("vit", "runs/s0").replace("--shift imagenet-c --tile 64", few)
    of = rules(text)
    assert of["merge"]["input"] == 'expand("heads.{i}.part", i=PARTS)'
    shell = {name: of[name]["shell"].strip('"') for name in ("part", "merge", "plot")}
    files = Names(f"heads.{index}.part" for index in parts)
    for index, name in enumerate(files):
        wildcards = type("Wildcards", (), {"i": index})
        bash(shell["part"].format(RUN=run, PARTS=parts, wildcards=wildcards, output=Names([name])), place, programs)
    tables = Names(re.findall(r'"(.*?)"', of["merge"]["output"]))
    bash(shell["merge"].format(input=files, output=tables), place, programs)
    bash(shell["plot"].format(input=Names(tables[:1]), output=Names(["heads.png"])), place, programs)
    assert (place / "heads.png").stat().st_size > 10_000
    merged = (place / "heads.csv").read_bytes()
    bash(f"{run} -o heads.csv", place, programs)
    assert (place / "heads.csv").read_bytes() == merged


@pytest.mark.slow
def test_two_launchers_train_what_one_trains(tmp_path: Path, toy_shards: Path) -> None:
    """As on two nodes, which here are one machine, with the options of the page."""
    options = ["train", toy_shards, "--depth", 2, "--dim", 16, "--heads", 2, "--patch", 14, "--epochs", 2, "--batch",
               24, "--threads", 1, "--device", "cpu"]  # fmt: skip
    one = tmp_path / "one.safetensors"
    assert torchrun(2, *options, "-o", one).returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = re.search(r"torchrun (--nnodes.*?) \\\n", block("Training over nodes", "sh"))
    assert line and "--rdzv-backend=c10d" in line[1]
    launcher = line[1].replace("--nproc-per-node=4", "--nproc-per-node=1").replace('"$SLURM_JOB_ID"', "7").split()
    two = tmp_path / "two.safetensors"
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *launcher, f"--rdzv-endpoint=localhost:{port}", "-m", "vhs",
             *map(str, options), "-o", str(two)],
            env=environment(NO_COLOR="1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) for _ in range(2)
    ]  # fmt: skip
    for node in nodes:
        _, err = node.communicate(timeout=300)
        assert node.returncode == 0, err
    from safetensors.numpy import load_file

    first, second = load_file(one), load_file(two)
    assert first.keys() == second.keys() and all((first[name] == second[name]).all() for name in first)
    assert one.with_suffix(".train.csv").exists() and two.with_suffix(".train.csv").exists()
