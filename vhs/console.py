"""Talk on stderr: notes, warnings, progress. Nothing else writes there, and nothing here writes data."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vhs.errors import VhsError
from vhs.progress import Note
from vhs.progress import Progress as Report

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


LONGEST = 1500
"""Characters of one message; a damaged file may supply any number."""


def printable(text: str) -> str:
    """Text that a file may have supplied, on one line and without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else " " if c.isspace() else repr(c)[1:-1] for c in text)


@dataclass
class Console:
    """How much is said. level: 0 quiet, 1 notes and warnings, 2 details too."""

    command: str = "vhs"
    level: int = 1

    def note(self, message: str) -> None:
        """Something a reader of the result should know."""
        if self.level >= 1:
            self._say(message)

    def detail(self, message: str) -> None:
        """Something for -v."""
        if self.level >= 2:
            self._say(message)

    def error(self, message: str) -> None:
        self._say(message)

    @contextmanager
    def progress(self) -> Iterator[ProgressBar]:
        """A progress bar where stderr is a terminal and nobody asked for quiet; else nothing."""
        if self.level == 0 or not _shows_progress():
            yield ProgressBar(None)
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False), TimeRemainingColumn(),
        )  # fmt: skip
        bar = ProgressBar(Progress(*columns, console=RichConsole(stderr=not _in_notebook()), transient=True))
        try:
            yield bar
        finally:
            bar.end()

    def _say(self, message: str) -> None:
        line = printable(message)
        line = line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
        if sys.stderr is None:  # closed by whoever started us
            return
        try:
            sys.stderr.write(f"{self.command}: {line}\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody listens
            return


class ProgressBar:
    """Called with what is under way, how much of it is done, and how much there is."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._done = self._total = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            return
        self._bar.start()  # only now, or a notebook shows an empty place for work that reports nothing
        if self._task is None or total != self._total or done < self._done:  # another piece of work
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(what, total=total, completed=done, rate="")
        self._done, self._total = done, total
        speed = self._bar.tasks[-1].speed
        rate = f"{speed:,.0f}/s" if speed else ""
        self._bar.update(self._task, description=printable(what), completed=done, rate=rate)

    def end(self) -> None:
        """Take the bar away, before other words are written."""
        if self._bar is not None:
            self._bar.stop()


@dataclass(frozen=True)
class Talk:
    """Whom a function of Python's talks to."""

    progress: Report
    note: Note


@contextmanager
def spoken(progress: Report | None = None, *, quiet: bool = False) -> Iterator[Talk]:
    """Inside, for functions that are called from Python: notes on stderr, a progress bar in a notebook or a terminal,
    and errors in the words of Python.

    progress: told instead of a bar.
    """
    console = Console(level=0 if quiet else 1)
    try:
        with console.progress() if progress is None else nullcontext(progress) as report:
            yield Talk(report, console.note)
    except VhsError as error:
        error.args = (in_python(str(error)),)
        raise


def in_python(message: str) -> str:
    """`--max-samples` as max_samples; what stands in backticks is a command, and stays one."""
    parts = message.split("`")
    parts[::2] = [
        re.sub(r"--([a-z][a-z-]*)", lambda found: OPTIONS.get(found[1], found[1].replace("-", "_")), part)
        for part in parts[::2]
    ]
    return "`".join(parts).replace("-o FILE", "keep").replace("Add -o CKPT.safetensors", "Name one in out")


OPTIONS = {"no-verify": "verify", "compile": "compiled", "set": "settings", "class": "class_name"}
"""Options that Python knows by another name."""


def _shows_progress() -> bool:
    if _in_notebook():
        return find_spec("ipywidgets") is not None  # without it there is nothing to draw a bar with
    return sys.stderr is not None and sys.stderr.isatty()


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and type(shell.get_ipython()).__name__ == "ZMQInteractiveShell"
