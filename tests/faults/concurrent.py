"""Two unlike runs of a command with one output at one time: one wins, the other says who holds it and ends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults import cases, events, kills, warm
from tests.faults.cases import Case, Files, Room
from tests.faults.report import Report, spread
from tests.faults.warm import Child, Ended

COMMANDS = ("shard", "train", "ablate", "evalshift", "part", "prune")
AT_ONCE = 20.0
"""Seconds within which the second run has to end."""


@dataclass(frozen=True)
class Pair:
    """A command, what else writes to its output, and what each of the two gives alone; events: those of the first."""

    case: Case
    alone: dict[tuple[str, ...], Files]
    events: list[str]
    seconds: float


def concurrent(root: Path, report: Report, *, sample: bool) -> None:
    """Each command: the second run while the first stands still at an event; then both at once, unsynchronised."""
    for name in COMMANDS:
        folder = root / f"concurrent-{name}"
        folder.mkdir()
        room = Room(folder)
        pair = _pair(cases.CASES[name], folder, room)
        locks = [number for number, what in enumerate(pair.events, start=1) if events.kind(what) == "lock"]
        if not locks:
            report.violation(f"{name}: takes no lock on its output", " ".join(pair.case.argv))
        points = range((locks[0] if locks else 1) + 1, len(pair.events))
        for at in spread(points, 1 if sample else 8):
            for killed in (False, True):
                _paused(pair, room, at, report, killed=killed)
        for _ in range(1 if sample else 6):
            _at_once(pair, room, report)


def _pair(case: Case, folder: Path, room: Room) -> Pair:
    wanted = cases.expected(case, folder)
    place = room.new()
    ended = warm.run(case.other, place)
    if ended.code:
        raise RuntimeError(f"{case.other}: {ended}")
    alone = {case.argv: wanted.new, case.other: cases.files(place)}
    return Pair(case, alone, wanted.events["fresh"], wanted.seconds)


def _paused(pair: Pair, room: Room, at: int, report: Report, *, killed: bool) -> None:
    """The first run stands still before event `at` while the second runs; then it is killed, or goes on."""
    case, place = pair.case, room.new()
    where = f"the first before event {at}, {pair.events[at - 1]}"
    child, release = _standing(case.argv, place, at)
    second = warm.start(case.other, place).wait(AT_ONCE)
    report.count(case.name, "second runs while the first stands still")
    _refused(second, case, report, where)
    if killed:
        child.kill()
        child.wait()
        release()
        after = warm.run(case.other, place)
        report.count(case.name, "runs after the first was killed")
        if _other_set(after, case):
            return
        if after.code:
            report.violation(
                f"{case.name}: after the first was killed, ends with {after.code}", f"{where}: {after.err}"
            )
        else:
            kills.differences(case, cases.files(place), pair.alone[case.other], report, f"{where}, then killed")
        return
    release()
    first = child.wait()
    if first.code:
        report.violation(f"{case.name}: the first ends with {first.code}", f"{where}: {first.err}")
    else:
        kills.differences(case, cases.files(place), pair.alone[case.argv], report, f"{where}, then released")


def _refused(second: Ended, case: Case, report: Report, where: str) -> None:
    report.count(f"{case.name} second", "hung" if second.hung else f"ended with {second.code}")
    if _other_set(second, case):
        return
    if second.hung:
        report.violation(f"{case.name}: the second waits instead of ending at once", where)
    elif second.code != 1:
        report.violation(f"{case.name}: the second ends with {second.code}", f"{where}: {second.err}")
    elif len(second.lines) != 1 or not re.match(rf"vhs {case.argv[0]}: .*\.lock\b", second.err):
        report.violation(f"{case.name}: the second does not name the lock in one line", f"{where}: {second.err}")


def _other_set(ended: Ended, case: Case) -> bool:
    """Whether a shard set that another plan has finished was refused: as true as a lock, and as soon."""
    return case.name == "shard" and ended.code == 2 and "already holds another shard set" in ended.err


def _standing(argv: tuple[str, ...], place: Path, at: int) -> tuple[Child, Callable[[], None]]:
    """A run that stands still before its event `at`, once it does, and what lets it go on."""
    told, tells = os.pipe()
    waits, go = os.pipe()
    spare = [os.dup2(end, 300 + number) for number, end in enumerate((tells, waits))]  # beyond what a child closes

    def act(now: int, _name: str) -> None:
        if now == at:
            os.write(spare[0], b".")
            os.read(spare[1], 1)

    child = warm.start(argv, place, lambda: events.watch(place, act))
    for end in (tells, waits, *spare):
        os.close(end)
    os.read(told, 1)
    os.close(told)

    def release() -> None:
        os.close(go)

    return child, release


def _at_once(pair: Pair, room: Room, report: Report) -> None:
    """Both started together: what lies there in the end is what one of them gives alone, and it is the one that won."""
    case, place = pair.case, room.new()
    both = {argv: warm.start(argv, place) for argv in pair.alone}
    ended = {argv: child.wait() for argv, child in both.items()}
    codes = sorted(told.code for told in ended.values())
    report.count(f"{case.name} both at once", f"ended with {codes[0]} and {codes[1]}")
    won = [argv for argv, told in ended.items() if told.code == 0]
    found = cases.files(place)
    if not won or not any(found == pair.alone[argv] for argv in won):
        lines = "; ".join(told.err.strip()[-100:] for told in ended.values())
        kind = "nobody wins" if not won else "what is left is of neither run alone"
        report.violation(f"{case.name}: both at once, {kind}", f"codes {codes}: {lines}; {sorted(found)}")
    for told in ended.values():
        if told.code not in (0, 1) and not _other_set(told, case):
            report.violation(f"{case.name}: both at once, one ends with {told.code}", told.err[-300:])
