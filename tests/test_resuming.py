"""Every measuring command continues a killed run, and ends with the bytes of a plain one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.shells import holder, shell

COMMANDS = {
    "ablate": ("ablate", "--shift", "contrast"),
    "taylor": ("ablate", "--method", "taylor", "--shift", "contrast"),
    "evalshift": ("evalshift", "--shift", "contrast"),
    "groups": ("evalshift", "--shift", "contrast", "--by", "label", "--summary", "groups"),
    "specialize": ("specialize", "--shift", "contrast"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupted_run_is_continued(vhs, toy_checkpoint: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from vhs.runs.journal import Journal

    command, *options = COMMANDS[name]
    argv = (command, toy_checkpoint, *options, "--max-samples", 32)
    assert vhs(*argv, "-o", "plain.parquet")[0] == 0
    whole = {path.name.replace("plain", "t"): path.read_bytes() for path in Path().glob("plain*")}
    store, kept = Journal.store, []

    def interrupt(self, condition: str, results: object) -> None:
        if len(kept) == 3:
            raise KeyboardInterrupt
        kept.append(condition)
        store(self, condition, results)

    monkeypatch.setattr(Journal, "store", interrupt)
    code, _, err = vhs(*argv, "-o", "t.parquet")
    assert code == 130 and "finished conditions are kept in t.parquet.partial, --resume continues" in err
    assert len(list(Path("t.parquet.partial").glob("*.tallies"))) == 3 and not Path("t.parquet.lock").exists()
    monkeypatch.setattr(Journal, "store", store)
    monkeypatch.setattr(sys, "argv", ["vhs", *map(str, argv), "-o", "plain.parquet"])
    _, _, err = vhs(*argv, "-o", "t.parquet", "--resume")
    assert "continuing after 3 of 6 conditions" in err and not Path("t.parquet.partial").exists()
    found = {path.name: path.read_bytes() for path in Path().glob("t.*")}
    assert found.keys() == whole.keys()
    if name not in ("ablate", "specialize", "evalshift"):  # those record the hash of the main table, which has its name
        return
    from vhs.formats import tables

    for part in found:
        assert tables.read(part).rows.equals(tables.read(part.replace("t.", "plain.", 1)).rows), part


def test_a_resumed_table_has_the_bytes_of_a_plain_one(tmp_path: Path, toy_checkpoint: Path, vhs_program: Path) -> None:
    """Provenance leaves out --resume and how much is said."""
    contents = []
    for more in ("", "--resume", "-q --resume"):
        script = f"vhs evalshift {toy_checkpoint} --shift contrast:3 -o t.parquet {more}"
        done = shell(script, tmp_path, program=vhs_program)
        assert done.returncode == 0, done.stderr
        contents.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.slow
def test_hanging_up_is_as_terminating(tmp_path: Path, toy_checkpoint: Path) -> None:
    argv = [sys.executable, "-m", "vhs", "ablate", str(toy_checkpoint), "--shift", "imagenet-c", "-o", "t.csv"]
    process = subprocess.Popen(
        argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # or under nohup it stays ignored
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(tmp_path.glob("t.csv.partial/*.tallies")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 129 and "--resume continues" in err
    assert not list(tmp_path.glob("**/*.tmp")) and not (tmp_path / "t.csv.lock").exists()


def test_a_second_run_of_one_output_is_refused(vhs, toy_checkpoint: Path, tmp_path: Path) -> None:
    process = holder(tmp_path / "t.csv")
    for command in ("ablate", "evalshift", "specialize"):
        code, out, err = vhs(command, toy_checkpoint, "-o", "t.csv")
        assert (code, out) == (1, "") and "t.csv: another run is writing it" in err and err.count("\n") == 1
    process.communicate()
    assert not Path("t.csv").exists()
