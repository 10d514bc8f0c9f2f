"""`kill -9` at every file-system event of the commands that write, and at random instants; then the command again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from tests.faults import cases, events, warm
from tests.faults.cases import Case, Expected, Files, Room
from tests.faults.report import Report, spread

COMMANDS = ("shard", "train", "ablate", "evalshift", "part", "prune")
LONGEST_CHAIN = 6
"""Kills of one run at random instants, before it may end."""


def kills(root: Path, report: Report, *, count: int, seed: int, sample: bool) -> None:
    """Each event once, from nothing and over older products, then random instants until `count` kills a command.

    sample: `count` events spread evenly, and a third as many random instants.
    """
    for name in COMMANDS:
        case = cases.CASES[name]
        (root / name).mkdir()
        wanted = cases.expected(case, root / name)
        room = Room(root / name)
        every = [(start, number) for start in cases.STARTS for number in range(1, len(wanted.events[start]) + 1)]
        chosen = spread(every, count if sample else None)
        for start, number in chosen:
            _at_event(wanted, room, start, number, report)
        report.count(name, "events", len(every))
        for left in filter(cases.WORKING.search, wanted.new):
            report.violation(f"{name}: an undisturbed run leaves {left}", " ".join(case.argv))
        at_random = count // 3 if sample else max(count - len(chosen), count // 4)
        _at_random(wanted, room, at_random, np.random.default_rng(seed), report)


def _at_event(wanted: Expected, room: Room, start: str, number: int, report: Report) -> None:
    case = wanted.case
    what = wanted.events[start][number - 1]
    place = room.new(wanted.old if start == "old" else {})
    ended = warm.run(case.argv, place, lambda: events.watch(place, _killer(number)))
    where = f"{start} start, before event {number}, {what}"
    report.measure("seconds", ended.seconds, f"{case.name}, {where}")
    if ended.code != -signal.SIGKILL:
        report.count(case.name, f"ended with {ended.code} before its event")
        return
    report.count(case.name, "killed at an event")
    _look(wanted, place, report, where)
    again(wanted, place, report, where)


def _killer(number: int) -> events.Act:
    def act(now: int, _name: str) -> None:
        if now == number:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    return act


def _at_random(wanted: Expected, room: Room, count: int, rng: np.random.Generator, report: Report) -> None:
    """Kill a run and what continues it at random instants, several times, then let it end."""
    case, done = wanted.case, 0
    tries = 0
    while done < count and tries < 3 * count + 10:
        place = room.new(wanted.old if rng.random() < 0.5 else {})
        moments = []
        for chain in range(LONGEST_CHAIN):
            if done >= count:
                break
            tries += 1
            moments.append(round(float(rng.uniform(0, 1.1)) * wanted.seconds, 3))
            child = warm.start(case.argv if chain == 0 else (*case.argv, *case.again), place)
            time.sleep(moments[-1])
            child.kill()
            if child.wait().code != -signal.SIGKILL:
                report.count(case.name, "ended before the kill")
                break
            done += 1
            report.count(case.name, "killed at random")
            _look(wanted, place, report, f"after {moments} s")
        again(wanted, place, report, f"after {moments} s")


def _look(wanted: Expected, place: Path, report: Report, where: str) -> None:
    """After a kill nothing is half there, and new companions never stand beside an old table unsaid."""
    case = wanted.case
    states = cases.states(cases.files(place), wanted)
    report.count(f"{case.name} left", states[case.main])
    for name, state in states.items():
        if state == "other":
            report.violation(f"{case.name}: a kill leaves {name}, neither whole nor a working file", where)
    rest = {name: state for name, state in states.items() if name != case.main and state != "working"}
    behind = [name for name, state in rest.items() if name in wanted.new and state != "new"]
    if states[case.main] == "new" and wanted.old.get(case.main) != wanted.new[case.main] and behind:
        report.violation(f"{case.name}: {case.main} is new beside {behind[0]}, {rest[behind[0]]}", where)
    if case.name == "ablate" and states[case.main] == "old" and rest["t.folds.parquet"] == "new":
        read = warm.run(("compare", "t.csv"), place)
        report.count(case.name, f"old table beside new folds, read with code {read.code}")
        if read.code not in (3, 4):
            report.violation("ablate: new folds beside an old table are read without a word", where)


def again(wanted: Expected, place: Path, report: Report, where: str) -> None:
    """The command again, resumed where it can be, gives what an undisturbed run gives, and nothing else."""
    case = wanted.case
    ended = warm.run((*case.argv, *case.again), place)
    if ended.hung or ended.code:
        told = "hangs" if ended.hung else f"ends with {ended.code}: {ended.err.strip()[-120:]}"
        report.violation(f"{case.name}: run again, {told}", where)
        return
    if ended.out != wanted.out:
        report.violation(f"{case.name}: run again, it prints something else", where)
    differences(case, cases.files(place), wanted.new, report, f"run again {where}")


def differences(case: Case, found: Files, wanted: Files, report: Report, where: str) -> None:
    """Violations for each file that is missing, differs, or was left over."""
    for name in sorted({*found, *wanted}):
        shown = "a temporary file" if name.endswith(".tmp") else name
        if name not in wanted:
            report.violation(f"{case.name}: {shown} is left over", f"{events.plain(name)}, {where}")
        elif name not in found:
            report.violation(f"{case.name}: {shown} is missing", where)
        elif found[name] != wanted[name]:
            alike = name.endswith(".parquet") and _same_rows(found[name], wanted[name])
            report.violation(f"{case.name}: {shown} differs{' in its metadata alone' if alike else ''}", where)


def _same_rows(one: bytes, other: bytes) -> bool:
    """Whether two Parquet files hold equal tables; asked of a child: the parent must not start polars' threads."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("a.parquet", one), ("b.parquet", other)):
            (Path(folder) / name).write_bytes(data)
        return warm.Child(_unequal, Path(folder)).wait().code == 0


def _unequal() -> int:
    import polars as pl

    return int(not pl.read_parquet("a.parquet").equals(pl.read_parquet("b.parquet")))
