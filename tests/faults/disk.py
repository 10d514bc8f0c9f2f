"""A full disk at every write of the commands that write, and file-size limits; then the command again, with room."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.faults import cases, events, kills, warm
from tests.faults.cases import Expected, Room
from tests.faults.report import Report, spread

SAMPLED = (*kills.COMMANDS, "compare")
COMMANDS = (*SAMPLED, "plot")
NO_MOUNTS = 77
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
LIMITS = (0, 100, 3000, 12000)
"""Bytes a file may have, for what no Python function writes."""


def disk(root: Path, report: Report, *, count: int | None) -> None:
    """Every event that needs room, from nothing and over older products.

    count: so many of each command that runs for long, and one of the others, spread evenly.
    """
    for name in COMMANDS if count is None else SAMPLED:
        folder = root / f"disk-{name}"
        folder.mkdir()
        wanted = cases.expected(cases.CASES[name], folder)
        room = Room(folder)
        every = [
            (start, number)
            for start in cases.STARTS
            for number, what in enumerate(wanted.events[start], start=1)
            if events.kind(what) in events.SPACE
        ]
        few = count if count is None or name in kills.COMMANDS else 1
        for start, number in spread(every, few):
            where = f"{start} start, full from event {number} on, {wanted.events[start][number - 1]}"
            place = room.new(wanted.old if start == "old" else {})
            _fail(wanted, place, start, lambda n=number, p=place: events.watch(p, _full(n)), report, where)
            report.count(name, "full disks")
        for limit in spread(LIMITS, None if count is None else int(name == "train")):
            place = room.new()
            _fail(wanted, place, "fresh", lambda n=limit: _limit(n), report, f"files of at most {limit} bytes")
            report.count(name, "file-size limits")
    _spill(root, report)


def _spill(root: Path, report: Report) -> None:
    """Decoded images that go to a scratch file on a full disk: one line, where writing to a mapped file is SIGBUS."""
    folder = root / "disk-spill"
    (folder / "run" / "tmp").mkdir(parents=True)
    argv = ("evalshift", "../../toys/a.safetensors", "--data", "../../toys/shards/val", "-q")
    ended = warm.run(argv, folder / "run", lambda: _scratch(folder / "run" / "tmp"))
    if ended.code == NO_MOUNTS:
        report.count("scratch file", "not tried: this machine does not let us mount")
        return
    report.count("scratch file", f"exit {ended.code}")
    if ended.code != 1 or len(ended.lines) != 1:
        report.violation(f"evalshift: a scratch file on a full disk ends it with {ended.code}", ended.err[-300:])


def _scratch(folder: Path) -> None:
    """A disk of 16 KiB for scratch files, and a limit of memory above which images go there."""
    from vhs.runs import cache

    libc = ctypes.CDLL(None, use_errno=True)
    alone = CLONE_NEWNS if os.geteuid() == 0 else CLONE_NEWNS | CLONE_NEWUSER
    if libc.unshare(alone) or libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, b"size=16k"):
        os._exit(NO_MOUNTS)
    tempfile.tempdir = str(folder)
    cache.memory_bytes = lambda: 0  # type: ignore[assignment]


def _full(number: int) -> events.Act:
    """From this event on whatever needs room fails."""

    def act(now: int, name: str) -> None:
        if now >= number and events.kind(name) in events.SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return act


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _fail(
    wanted: Expected, place: Path, start: str, prepare: Callable[[], None], report: Report, where: str
) -> None:  # fmt: skip
    """Run without room: exit 1, one line, nothing half written, products of one run only; then again, with room."""
    case = wanted.case
    ended = warm.run(case.argv, place, prepare)
    report.measure("seconds", ended.seconds, f"{case.name}, {where}")
    report.count(f"{case.name} ends with", str(ended.code))
    found = cases.files(place)
    states = cases.states(found, wanted)
    if ended.code == 0 and all(states[name] == "new" for name in wanted.new):
        return  # what it needed fitted, or it went on without what did not
    if ended.code != 1:
        report.violation(f"{case.name}: a full disk ends it with {ended.code}", f"{where}: {ended.err[-300:]}")
    elif len(ended.lines) != 1 or not ended.err.startswith("vhs "):
        last = ended.lines[-1] if ended.lines else ""
        report.violation(f"{case.name}: {len(ended.lines)} lines on stderr", f"{where}: … {last}")
    elif "a defect" in ended.err:
        report.violation(f"{case.name}: a full disk is called a defect", f"{where}: {ended.err}")
    _look(wanted, states, start, report, where)
    kills.again(wanted, place, report, f"after {where}")


def _look(wanted: Expected, states: dict[str, str], start: str, report: Report, where: str) -> None:
    case = wanted.case
    for name, state in states.items():
        if state == "other":
            report.violation(f"{case.name}: {name} is half written or half of a run", where)
        elif state == "working" and name.endswith((".tmp", ".lock")):
            report.violation(f"{case.name}: {events.plain(name)} is left by a run that ended by itself", where)
        elif state == "absent" and start == "old" and name in wanted.old and name not in wanted.new:
            continue
        elif state == "absent" and start == "old" and name in wanted.old and case.name != "shard":
            report.violation(f"{case.name}: the old {name} is lost", where)
    products = {name: states[name] for name in wanted.new if not case.is_part(name) or name == case.main}
    if len(set(products.values())) > 1:
        told = ", ".join(f"{name} {state}" for name, state in sorted(products.items()))
        report.violation(f"{case.name}: products of two runs: {told}", where)
