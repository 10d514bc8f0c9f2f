"""Whole processes: real pipes, real kills, real limits."""

import io
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from tests.shells import VHS, environment, shell, start


def test_the_headline(tmp_path: Path, toy_checkpoint: Path, vhs_program: Path) -> None:
    done = shell(f"vhs ablate {toy_checkpoint} --shift imagenet-c | vhs plot -o heads.png", tmp_path)
    assert done.returncode == 0 and done.stdout == b"heads.png\n", done.stderr
    assert (tmp_path / "heads.png").read_bytes().startswith(b"\x89PNG")
    done = shell(f"vhs ablate {toy_checkpoint} --shift contrast | vhs plot", tmp_path, program=vhs_program)
    assert done.stdout == b"ablate.png\n"


def test_head_ends_the_command_quietly(tmp_path: Path, toy_checkpoint: Path, vhs_program: Path) -> None:
    done = shell(f"vhs ablate {toy_checkpoint} --shift noise -q | head -3", tmp_path, program=vhs_program)
    assert done.returncode == 0 and done.stderr == b"" and done.stdout.count(b"\n") == 3
    done = shell(f"vhs ablate {toy_checkpoint} --shift noise -q | head -3", tmp_path, PYTHONUNBUFFERED="1")
    assert done.returncode == 0 and done.stderr == b""


def test_tables_are_read_by_polars_at_the_other_end(tmp_path: Path, toy_checkpoint: Path, vhs_program: Path) -> None:
    code = "import sys, polars; print(len(polars.read_{}(sys.stdin.buffer)))"
    for form in ("csv", "parquet", "ndjson"):
        option = {"ndjson": "jsonl"}.get(form, form)
        script = f"vhs ablate {toy_checkpoint} --shift contrast:3 --format {option} | {sys.executable} -c '{code.format(form)}'"
        assert shell(script, tmp_path, program=vhs_program).stdout == b"14\n", form


def test_a_chain_of_every_command(tmp_path: Path, toy_shards: Path, vhs_program: Path) -> None:
    script = f"""
    vhs train {toy_shards} --depth 2 --dim 16 --heads 2 --patch 14 --epochs 2 --batch 20 -o - 2>refused || true
    m=$(vhs train {toy_shards} --depth 2 --dim 16 --heads 2 --patch 14 --epochs 2 --batch 20 -o m.safetensors)
    vhs ablate "$m" --shift contrast:2,4 --folds - | vhs compare > agreement.csv
    vhs plot agreement.csv
    cat m.safetensors | vhs evalshift - --data {toy_shards}/val --shift contrast | vhs plot -o - > curves.png
    vhs specialize "$m" --pairs - --format parquet | vhs plot -o jsd.svg
    echo "$m" | vhs evalshift @- | vhs info --say /dev/stdin
    """
    done = shell(script, tmp_path, program=vhs_program)
    assert done.returncode == 0, done.stderr
    assert b"names no output file" in (tmp_path / "refused").read_bytes()
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG") and b"<svg" in (
        tmp_path / "jsd.svg"
    ).read_bytes()
    assert b"m answers" in done.stdout and (tmp_path / "agreement.png").exists()


def test_a_dead_producer_is_told(tmp_path: Path, vhs_program: Path) -> None:
    done = shell("vhs ablate missing.safetensors | vhs plot -o x.png", tmp_path, program=vhs_program)
    assert done.returncode == 3 and b"stdin: is empty, a table was expected" in done.stderr
    assert not (tmp_path / "x.png").exists()


@pytest.mark.slow
def test_full_devices_and_limits(tmp_path: Path, toy_checkpoint: Path, vhs_program: Path) -> None:
    done = shell(f"vhs ablate {toy_checkpoint} -q > /dev/full", tmp_path, program=vhs_program)
    assert done.returncode == 1 and done.stderr == b"vhs ablate: stdout: cannot be written: No space left on device.\n"
    done = shell(f"vhs ablate {toy_checkpoint} -q -o /dev/full", tmp_path, program=vhs_program)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"No space left" in done.stderr
    done = shell(f"ulimit -f 4; vhs ablate {toy_checkpoint} --shift contrast -q -o t.csv", tmp_path)
    assert done.returncode == 1 and b"File too large" in done.stderr and done.stderr.count(b"\n") == 1
    assert not (tmp_path / "t.csv").exists() and not list(tmp_path.rglob("*.tmp"))


def test_start_up_times(tmp_path: Path) -> None:
    """Bounds with room for a busy machine; the figures themselves are in docs/benchmarks.md."""
    table = Path(__file__).parent / "transcripts" / "heads.csv"
    rows = pl.read_csv(table, infer_schema_length=None).filter(pl.col("shift") == "clean")
    parts = [rows.with_columns(shift=pl.lit(f"set-{i}")) for i in range(200)]
    pl.concat([rows, *parts]).write_csv(tmp_path / "big.csv")
    for command, bound in (("--help", 0.4), ("plot big.csv -o x.png", 2.0)):
        taken = []
        for _ in range(3):
            begun = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert shell(f"vhs {command}", tmp_path).returncode == 0
            spent = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(spent.ru_utime + spent.ru_stime - begun.ru_utime - begun.ru_stime)
        assert min(taken) < 2 * bound, (command, taken)


def test_sigterm_saves_and_says_so(tmp_path: Path, toy_shards: Path) -> None:
    command = f"train {toy_shards} --depth 2 --dim 16 --heads 2 --patch 14 --epochs 4000 --batch 20 -o m.safetensors"
    process = start(command, tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "m.resume").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and b"the state is saved, --resume continues" in err
    assert (tmp_path / "m.resume").exists() and not (tmp_path / "m.safetensors").exists()


def test_a_terminal_gets_a_heat_map_in_text(tmp_path: Path, toy_checkpoint: Path) -> None:
    import pty

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        shlex.split(f"{VHS} ablate {toy_checkpoint} --shift contrast:4"), cwd=tmp_path, stdout=follower, stderr=subprocess.DEVNULL,
        env=environment(TERM="xterm-256color", COLUMNS="100"),
    )  # fmt: skip
    os.close(follower)
    shown = io.BytesIO()
    while True:
        try:
            shown.write(os.read(leader, 65536))
        except OSError:
            break
    text = shown.getvalue().decode()
    assert process.wait() == 0
    assert "layer" in text and "strongest on clean images" in text and "q = " in text and "\x1b[" in text
    assert "vhs plot" in text, "how to get the rest"


def test_a_journal_cut_off_at_its_first_file_is_begun_anew(tmp_path: Path) -> None:
    from vhs.runs.journal import Journal, Keeping

    folder = tmp_path / "t.csv.partial"
    folder.mkdir()
    (folder / ".run.json.0a1b2c3d.tmp").write_bytes(b"{")
    Journal(tmp_path / "t.csv", {"a": 1}, resume=True)
    Keeping(tmp_path / "t.csv").discard()
    assert not folder.exists()
