"""Which of several processes on one run this is, and which of several jobs. Reads the environment that torchrun and
Slurm set; needs no torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from vhs.errors import UsageError

MOST = 1 << 16
"""Parts of a run."""
TASK, TASKS, FIRST_TASK, LAST_TASK, STEP = (
    f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN", "MAX", "STEP")
)


@dataclass(frozen=True)
class Part:
    """One of `count` jobs that share a run, from 0."""

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def share(self) -> tuple[int, int]:
        """(rank, ranks) of this process among those of all parts, if these have as many processes as this one."""
        rank, ranks = world()
        return self.index + self.count * rank, self.count * ranks


WHOLE = Part()


def parse_part(text: str | None) -> Part | None:
    """`2/7`, or `auto`: this task of a Slurm array; None where none is asked for. Raises UsageError."""
    if text is None:
        return None
    if text == "auto":
        return _of_array()
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(text), re.ASCII)
    part = Part(int(found[1]), int(found[2])) if found else None
    if part is None or not part.index < part.count <= MOST:
        raise UsageError(f"--part {text}: expected I/N with I from 0 to N - 1, such as 0/4, or auto in a Slurm array.")
    return part


def _of_array() -> Part:
    """Tasks by their order in the array. Raises UsageError outside of one, and where their numbers have gaps."""
    values = [os.environ.get(name, "") for name in (TASK, TASKS)]
    if not all(value.isdecimal() for value in values):
        raise UsageError(f"--part auto: {TASK} and {TASKS} are not set. Start it in a Slurm array, or say --part 0/4.")
    task, count = map(int, values)
    first, step = (
        int(value) if (value := os.environ.get(name, "")).isdecimal() else usual
        for name, usual in ((FIRST_TASK, 0), (STEP, 1))
    )
    last = os.environ.get(LAST_TASK, "")
    even = not last.isdecimal() or int(last) - first == (count - 1) * step
    index, odd = divmod(task - first, max(step, 1))
    if odd or not even or not 0 <= index < count <= MOST:
        raise UsageError(
            f"--part auto: the array's tasks are not evenly numbered (task {task} of {count} from {first}). "
            f"Say which part this is with --part I/N."
        )
    return Part(index, count)


def world() -> tuple[int, int]:
    """(rank, ranks) of this process as torchrun numbers them; (0, 1) when it runs alone."""
    try:
        rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        return 0, 1
    return (rank, ranks) if 0 <= rank < ranks else (0, 1)


def local_rank() -> int:
    """The number of this process on its machine, by which it takes a GPU."""
    text = os.environ.get("LOCAL_RANK", "0")
    return int(text) if text.isdecimal() else 0


def local_ranks() -> int:
    """How many processes of the run are on this machine."""
    text = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(int(text), 1) if text.isdecimal() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and talks."""
    return world()[0] == 0
