"""Damaged files of every kind, by a seed: each is read or refused in one line, soon, in bounded memory, never silently."""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.faults import bombs, names, warm, worker
from tests.faults.report import Report
from tests.faults.sound import formats
from tests.faults.sound.format import PLACES, Format
from tests.faults.worker import Batch

FULL, SAMPLED = 50_000, 80
"""Inputs in all."""
SIZE = 200
LONGEST = 10.0
"""Seconds an input may take, of computing or of waiting for nothing."""
MEMORY = 1 << 30
"""Bytes by which reading an input may let the process grow."""
WORKERS = max(2, min(4, os.cpu_count() or 1))
LINE = 2000
"""Characters of a message that quotes what it found."""
KEPT = 3
"""Inputs of one kind of violation that --keep keeps."""
CODES = (0, 1, 2, 3, 4)


def mutations(root: Path, report: Report, options: argparse.Namespace) -> None:
    """`options.count` inputs over all formats; then decompression bombs and hostile names."""
    every = [item for item in formats(root) if not options.only or options.only in item.name]
    total = options.count or (SAMPLED if options.sample else FULL)
    ends = time.monotonic() + options.seconds if options.seconds else None
    queue = deque(_batches(every, total, options.seed, sample=options.sample))
    running = [_Running(root, number, report, options.keep) for number in range(WORKERS)]
    while queue or any(item.batch for item in running):
        if ends and time.monotonic() > ends:
            queue.clear()
        for item in running:
            if item.batch is None and queue:
                item.start(queue.popleft())
        _serve([item for item in running if item.batch])
    if not options.only:
        names.names(root, report, 10 if options.sample else None)
        bombs.bombs(root, report, sample=options.sample)


def _batches(every: list[Format], total: int, seed: int, *, sample: bool) -> Iterator[Batch]:
    """As many inputs of each format as its share of `total`, a batch of each in turn.

    A sample takes other things in a file's place for every sixth format only.
    """
    shares = sum(item.share for item in every)
    ranges = {}
    for place, item in enumerate(every):
        first = len(PLACES) if sample and place % 6 else 0
        least = 2 if sample and first else len(PLACES)
        ranges[item.name] = range(first, first + max(least, round(total * item.share / shares)))
    for start in range(0, max(map(len, ranges.values())), SIZE):
        for item in every:
            if indices := tuple(ranges[item.name][start : start + SIZE]):
                yield Batch(item, seed, indices)


def _serve(running: list[_Running]) -> None:
    """Wait for what the workers tell, or for the first that has been silent for too long."""
    soonest = min((item.deadline for item in running), default=0.0)
    by_end = {item.end: item for item in running}
    for end in select.select(list(by_end), [], [], max(0.0, soonest - time.monotonic()))[0]:
        by_end[end].hear()
    for item in running:
        if item.batch and time.monotonic() > item.deadline:
            item.look()


class _Running:
    """A place for one worker at a time, and what has been heard of its batch."""

    def __init__(self, root: Path, number: int, report: Report, keep: Path | None) -> None:
        self.folder, self.report, self.keep = root / f"mutated{number}", report, keep
        self.folder.mkdir(exist_ok=True)
        self.batch: Batch | None = None

    def start(self, batch: Batch) -> None:
        self.end, tells = os.pipe()
        high = os.dup2(tells, 300)  # beyond what a child closes
        self.batch, self._text, self._begun = batch, b"", None
        self._child = warm.Child(lambda: worker.work(batch, self.folder, high), self.folder)
        for descriptor in (tells, high):
            os.close(descriptor)
        self._since, self._cpu = time.monotonic(), 0.0
        self.deadline = self._since + 60

    def hear(self) -> None:
        data = os.read(self.end, 1 << 16)
        if not data:
            return self._ended()
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            self._begun = None if "code" in told else told
            self._since, self._cpu = time.monotonic(), _used(self._child.pid)[0]
            self.deadline = self._since + (LONGEST if self._begun else 60)
            if "code" in told:
                self._judged(told)

    def look(self) -> None:
        """After the time an input may take: end a worker that computes or only waits; one that waits for a core goes on."""
        cpu, waits = _used(self._child.pid)
        if waits or cpu - self._cpu > LONGEST:
            self._child.kill()
            self._ended(hung=True)
        else:
            self.deadline = time.monotonic() + 1

    def _ended(self, *, hung: bool = False) -> None:
        ended = self._child.wait()
        os.close(self.end)
        batch, begun = self.batch, self._begun
        assert batch
        if not hung and ended.code >= 0:
            if ended.code:
                raise RuntimeError(f"{batch.format.name}: the worker ends with {ended.code} at {begun}: {ended.err}")
            self.batch = None
            return
        if begun is None:
            raise RuntimeError(f"{batch.format.name}: the sound file is not read; {ended}")
        on = f" on a {begun['way']}" if begun["way"] in PLACES else ""
        how = f"hangs{on}" if hung else f"dies of signal {-ended.code}{on}"
        self._judged(
            begun
            | {"code": how, "seconds": time.monotonic() - self._since if hung else 0.0, "peak": 0}
            | worker.shortened("")
        )
        self.batch = None
        rest = batch.indices[batch.indices.index(begun["index"]) + 1 :]
        if rest:
            self.start(replace(batch, indices=rest))

    def _judged(self, told: dict[str, Any]) -> None:
        assert self.batch
        form, report = self.batch.format, self.report
        where = f"input {told['index']} of {form.name}, {told['way']}, vhs {told['reading']}"
        report.count("inputs", form.name)
        report.count("outcomes", f"exit {told['code']}" if isinstance(told["code"], int) else str(told["code"]))
        report.measure("seconds", told["seconds"], where)
        report.measure("MiB", told["peak"] / 2**20, where)
        seal = "same" if told["way"] in PLACES and form.seal == "done" else form.seal
        wrong = list(verdicts(told, "" if told["way"] in PLACES and seal == "refused" else seal))
        for what in wrong:
            report.violation(f"{form.name}: {what}", f"{where}: {told['err'][:250]}")
        if self.keep and any(len(report.wrong[f"{form.name}: {what}"]) <= KEPT for what in wrong):
            name = re.sub(r"\W", "_", f"{form.name}-{told['index']}")
            _kept(self.keep / name, self.batch, told["index"], where)


def _used(pid: int) -> tuple[float, bool]:
    """Seconds that a process has computed, and whether all its threads wait for something."""
    try:
        told = [(item / "stat").read_text().rpartition(")")[2].split() for item in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:  # it has ended: its end of the pipe tells
        return 0.0, False
    ticks = os.sysconf("SC_CLK_TCK")
    return sum(int(words[11]) + int(words[12]) for words in told) / ticks, all(words[0] == "S" for words in told)


def verdicts(told: dict[str, Any], seal: str = "") -> Iterator[str]:
    """What is wrong with how an input was taken."""
    code, err = told["code"], told["err"]
    if not isinstance(code, int):
        yield str(code)
        return
    if code not in CODES:
        yield f"exit {code}"
    if told["panic"]:
        yield f"a traceback: {_plain(told['last'])}"
    elif "a defect of vhs" in err:
        yield f"a defect: {_plain(err.partition('a defect of vhs: ')[2])}"
    elif "out of memory" in err or "DefaultCPUAllocator" in err:
        yield "takes memory until there is no more"
    elif code and (told["lines"] != 1 + err.count("is part of a table") or not err.startswith("vhs")):
        yield f"{told['lines']} lines for one error: {_plain(told['last'])}"
    if told["length"] > LINE and not told["panic"]:
        yield f"a message of over {LINE:,} characters"
    if told.get("escapes"):
        yield "control characters reach the terminal"
    if told["seconds"] > LONGEST:
        yield f"takes over {LONGEST:.0f} s"
    if told["peak"] > MEMORY:
        yield f"takes over {MEMORY >> 20:,} MiB"
    yield from _unsealed(told, seal)


def _unsealed(told: dict[str, Any], seal: str) -> Iterator[str]:
    code, alike = told["code"], told.get("alike", True)
    if seal == "refused" and code != 3:
        yield f"is taken as whole, exit {code}"
    elif seal in ("same", "done") and code == 0 and not alike:
        yield "another result without a word"
    elif seal == "done" and code != 0:
        yield f"is not measured again: exit {code}"


def _plain(line: str) -> str:
    """A message without what differs from input to input."""
    line = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "…", line)
    return re.sub(r"\d+", "N", line)[:90]


def _kept(place: Path, batch: Batch, index: int, where: str) -> None:
    """The damaged files once more, and how they were read."""
    place.mkdir(parents=True, exist_ok=True)
    warm.apart(lambda: worker.laid(batch, index, place), place)
    (place / "how.txt").write_text(where + "\n")
