"""The commands that write, each with what it should leave behind, run alone and undisturbed."""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import events, toys, warm
from vhs.commands import ablate, evalshift, prune

Files = dict[str, bytes]
"""Contents by path below a folder."""
WORKING = re.compile(r"\.tmp$|\.partial|\.resume$|\.lock$")
"""Names of what a run that has not ended may leave."""


@dataclass(frozen=True)
class Case:
    """argv: run in a folder beside the toys. main: the file written last. other: what else fills the same files.

    parts: names of products that are whole each for itself, and may stand before the main one does.
    """

    name: str
    argv: tuple[str, ...]
    main: str
    other: tuple[str, ...]
    again: tuple[str, ...] = ()
    parts: str = r"$."

    def is_part(self, name: str) -> bool:
        return re.search(self.parts, name) is not None


def _resume(command: Callable[..., None]) -> tuple[str, ...]:
    return ("--resume",) if "resume" in inspect.signature(command).parameters else ()


def _measuring(command: str, model: str) -> tuple[str, ...]:
    return (command, f"../../toys/{model}.safetensors", "--shift", "contrast:3,5", "-q", "-o", "t.csv")


def _part(model: str) -> tuple[str, ...]:
    return (*_measuring("evalshift", model)[:-1], "t.part", "--part", "0/2")


def _pruning(model: str) -> tuple[str, ...]:
    return (
        "prune", f"../../toys/{model}.safetensors", "--shift", "contrast:3", "--keep", "2", "--random", "1", "-q",
        "-o", "s.safetensors",
    )  # fmt: skip


def _training(seed: int) -> tuple[str, ...]:
    return ("train", "../../toys/shards", *toys.SMALL, "--seed", str(seed), "--snapshots", "1", "-o", "m.safetensors")


CASES = {
    "shard": Case(
        "shard", ("shard", "../../toys/source", "out", "--per-tar", "5", "-q"), "out/val/shards.json",
        other=("shard", "../../toys/source", "out", "--per-tar", "4", "-q"), parts=r"\.tar$|train/|digests",
    ),
    "train": Case(
        "train", _training(0), "m.safetensors", other=_training(1), again=("--resume",), parts="snapshots/",
    ),
    "ablate": Case(
        "ablate", _measuring("ablate", "a"), "t.csv", other=_measuring("ablate", "b"), again=_resume(ablate.ablate)
    ),
    "evalshift": Case(
        "evalshift", _measuring("evalshift", "a"), "t.csv", other=_measuring("evalshift", "b"),
        again=_resume(evalshift.evalshift),
    ),
    "part": Case(
        "part", _part("a"), "t.part", other=_part("b"), again=_resume(evalshift.evalshift),
    ),
    "prune": Case(
        "prune", _pruning("a"), "s.safetensors", other=_pruning("b"), again=_resume(prune.prune),
    ),
    "plot": Case(
        "plot", ("plot", "../../toys/heads.csv", "-q", "-o", "t.png"), "t.png",
        other=("plot", "../../toys/shift.csv", "-q", "-o", "t.png"),
    ),
    "compare": Case(
        "compare", ("compare", "../../toys/heads.csv", "-o", "t.csv"), "t.csv",
        other=("compare", "../../toys/heads.csv", "--scale", "loss", "-o", "t.csv"),
    ),
}  # fmt: skip


@dataclass
class Expected:
    """What a case gives: its files and stdout, the events of its run and its seconds, and an older state to begin with."""

    case: Case
    new: Files
    out: bytes
    old: Files
    seconds: float
    events: dict[str, list[str]] = field(default_factory=dict)


STARTS = ("fresh", "old")
_KNOWN: dict[str, Expected] = {}


def expected(case: Case, folder: Path) -> Expected:
    """Run a case alone, from nothing and over an older state, and note its events both times; once a process."""
    if case.name not in _KNOWN:
        _KNOWN[case.name] = _expected(case, folder)
    return _KNOWN[case.name]


def _expected(case: Case, folder: Path) -> Expected:
    room = Room(folder)
    old = _old(case, room)
    found = Expected(case, {}, b"", old, 0.0)
    for start in STARTS:
        place = room.new(old if start == "old" else {})
        log = folder / "events"
        log.unlink(missing_ok=True)
        ended = warm.run(case.argv, place, lambda place=place, log=log: _noted(place, log))
        if start == "fresh":
            if ended.code:
                raise RuntimeError(f"{case.argv}: {ended}")
            found.new, found.out, found.seconds = files(place), ended.out, ended.seconds
        found.events[start] = log.read_text().splitlines() if log.exists() else []
    return found


def _old(case: Case, room: Room) -> Files:
    """The products of another run of the command; of `shard`, which refuses these, its own set, damaged."""
    place = room.new()
    ended = warm.run(case.argv if case.name == "shard" else case.other, place)
    if ended.code:
        raise RuntimeError(f"{case.other}: {ended}")
    if case.name == "shard":
        (place / "out/val/000000.tar").unlink()
        tar = place / "out/train/000001.tar"
        data = bytearray(tar.read_bytes())
        data[700] ^= 1
        tar.write_bytes(data)
    return files(place)


def _noted(place: Path, log: Path) -> None:
    names = log.open("a")

    def act(_number: int, name: str) -> None:
        names.write(name + "\n")
        names.flush()

    events.watch(place, act)


class Room:
    """Fresh folders beside the toys, one after another, all at one depth."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0

    def new(self, content: Files | None = None) -> Path:
        shutil.rmtree(self.folder / f"run{self.number}", ignore_errors=True)
        self.number += 1
        place = self.folder / f"run{self.number}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, data in (content or {}).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        return place


def files(folder: Path) -> Files:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def states(found: Files, expected: Expected) -> dict[str, str]:
    """Of each file there or expected: `new`, `old`, `absent`, `working` (of a run that has not ended) or `other`."""
    told = {}
    for name in sorted({*found, *expected.new, *expected.old}):
        data = found.get(name)
        if data is None:
            told[name] = "absent"
        elif data == expected.new.get(name):
            told[name] = "new"
        elif data == expected.old.get(name):
            told[name] = "old"
        else:
            known = name in expected.new or name in expected.old
            told[name] = "other" if known or not WORKING.search(name) else "working"
    return told


def remove(folder: Path) -> None:
    shutil.rmtree(folder)
