"""One run at a time for each output, and what dead runs leave."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tests.shells import holder
from vhs.counts import Counts
from vhs.errors import VhsError
from vhs.formats import locks
from vhs.formats.atomic import whole_file, write_together, write_whole
from vhs.runs.journal import Journal


def test_a_second_run_of_one_output_ends_at_once(tmp_path: Path) -> None:
    out = tmp_path / "heads.csv"
    process = holder(out)
    with (
        pytest.raises(
            VhsError, match=rf"another run is writing it \(process {process.pid}\) and holds heads\.csv\.lock"
        ) as caught,
        locks.hold([out]),
    ):
        pytest.fail("held twice")
    assert caught.value.exit_code == 1
    link = tmp_path / "link.csv"
    link.symlink_to(out)
    with pytest.raises(VhsError), locks.hold([link]):
        pytest.fail("another name of the same file")
    process.communicate()
    with locks.hold([out]):
        assert locks.path_of(out).exists()
    assert not locks.path_of(out).exists()


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    out = tmp_path / "heads.csv"
    process = holder(out)
    process.kill()
    process.wait()
    assert locks.path_of(out).exists()
    with locks.hold([out]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    notes: list[str] = []
    with locks.hold([tmp_path / "a.csv", None], notes.append):
        pass
    assert len(notes) == 1 and "has no locks" in notes[0] and list(tmp_path.iterdir()) == []


def test_other_ranks_take_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with locks.hold([tmp_path / "a.csv"]):
        assert list(tmp_path.iterdir()) == []


def test_temporaries_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nfrom vhs.formats.atomic import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])):\n    print('open', flush=True)\n    sys.stdin.read()"
    )
    out = tmp_path / "t.csv"
    start = [sys.executable, "-c", code, str(out)]
    living, dead = (subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2))
    for process in (living, dead):
        assert process.stdout and process.stdout.readline() == b"open\n"
    dead.kill()
    dead.wait()
    assert len(list(tmp_path.glob(".t.csv.*.tmp"))) == 2
    write_whole(out, b"new")
    assert [path.name.split(".")[3].split("-")[0] for path in tmp_path.glob(".*.tmp")] == [str(living.pid)]
    living.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_files_written_together_are_all_written_before_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("sync"), sync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append(Path(b).name), rename(a, b))[1])
    write_together([(tmp_path / "a.folds.parquet", b"f"), (tmp_path / "a.csv", b"m")])
    assert [name for name in events if name != "sync"] == ["a.folds.parquet", "a.csv"]
    assert events[:2] == ["sync", "sync"] and (tmp_path / "a.csv").read_bytes() == b"m"


def test_where_one_cannot_be_written_none_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, folds = tmp_path / "a.csv", tmp_path / "a.folds.parquet"
    write_together([(folds, b"old folds"), (main, b"old")])
    calls = iter([None, OSError(errno.ENOSPC, "No space left on device")])

    def full(handle: int) -> None:
        error = next(calls)
        if error:
            raise error

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VhsError, match=r"cannot be written: No space left on device\. Nothing was left there"):
        write_together([(folds, b"new folds"), (main, b"new")])
    assert (main.read_bytes(), folds.read_bytes()) == (b"old", b"old folds")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.folds.parquet"]


class TestJournal:
    RESULTS: ClassVar = [{"units": Counts(np.arange(12).reshape(2, 2, 3), ("n", "n_lost", "n_gained"))}]

    def entry(self, folder: Path) -> Path:
        return next(folder.glob("*.tallies"))

    def test_entries_come_back(self, tmp_path: Path) -> None:
        Journal(tmp_path / "t.csv", {"seed": 1}).store("clean", self.RESULTS)
        again = Journal(tmp_path / "t.csv", {"seed": 1}, resume=True)
        assert np.array_equal(again.load("clean")[0]["units"].values, self.RESULTS[0]["units"].values)
        assert again.load("clean")[0]["units"].fields == ("n", "n_lost", "n_gained") and again.load("fog") is None

    def test_another_runs_entry_is_not_taken(self, tmp_path: Path) -> None:
        """Two runs that met in one folder, where there are no locks."""
        first = Journal(tmp_path / "t.csv", {"models": ["a"]})
        notes: list[str] = []
        second = Journal(tmp_path / "t.csv", {"models": ["b"]}, note=notes.append)
        first.store("clean", self.RESULTS)
        assert second.load("clean") is None and "damaged or another run's; it is measured again" in notes[0]

    @pytest.mark.parametrize("place", [0, 40, 100, 300, -1])
    def test_a_flipped_bit_is_measured_again(self, tmp_path: Path, place: int) -> None:
        notes: list[str] = []
        journal = Journal(tmp_path / "t.csv", {}, note=notes.append)
        journal.store("clean", self.RESULTS)
        data = bytearray(self.entry(journal.folder).read_bytes())
        data[place] ^= 4
        self.entry(journal.folder).write_bytes(data)
        assert journal.load("clean") is None and len(notes) == 1

    @pytest.mark.parametrize("content", [b"", b"x" * 31, b"PK\x03\x04", None])
    def test_other_content_is_measured_again(self, tmp_path: Path, content: bytes | None) -> None:
        journal = Journal(tmp_path / "t.csv", {})
        journal.store("clean", self.RESULTS)
        entry = self.entry(journal.folder)
        if content is None:
            np.savez(entry.with_suffix(".npz"), **{"0|units|n": np.array([{}], object)})
            os.replace(entry.with_suffix(".npz"), entry)
        else:
            entry.write_bytes(content)
        assert journal.load("clean") is None
        journal.store("clean", self.RESULTS)
        assert journal.load("clean") is not None

    def test_a_changed_option_is_named(self, tmp_path: Path) -> None:
        Journal(tmp_path / "t.csv", {"group": 5, "tile": 16, "max_samples": 100})
        with pytest.raises(VhsError, match="was begun with --max-samples 100, now it is 500"):
            Journal(tmp_path / "t.csv", {"group": 3, "tile": 32, "max_samples": 500}, resume=True)


def test_a_file_in_the_way_of_the_temporary_is_no_trouble(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a") as first, whole_file(tmp_path / "a") as second:
        first.write(b"1")
        second.write(b"2")
    assert (tmp_path / "a").read_bytes() == b"1" and len(list(tmp_path.iterdir())) == 1
