"""Commands of vhs in forked children of one process that has imported everything, so that a run costs what it does.

The parent computes nothing itself: threads and autograd do not survive a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import os
import pkgutil
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEPT = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100", "MPLBACKEND": "agg"}
PATIENCE = 120.0
"""Seconds after which a command that has not ended counts as hanging."""
DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""
FLUSHED_IN_VAIN = 120
"""Python's exit code when the last flush of stdout fails."""


@dataclass(frozen=True)
class Ended:
    """How a command ended. code: its exit code, or minus the signal that killed it; seconds: of wall time; peak: bytes;
    cpu: seconds of computing, which a busy machine does not lengthen."""

    code: int
    out: bytes
    err: str
    seconds: float
    hung: bool = False
    peak: int = 0
    cpu: float = 0.0

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


def import_everything() -> None:
    """All modules of vhs with what they import; once, in the parent."""
    os.environ.update(KEPT)
    for name in ("VHS_SHARDS", "WORLD_SIZE", "RANK"):
        os.environ.pop(name, None)
    sys.dont_write_bytecode = True
    import matplotlib.figure
    import safetensors.torch
    import scipy.stats
    import torch

    import vhs

    assert matplotlib.figure and safetensors.torch and scipy.stats
    for module in pkgutil.walk_packages(vhs.__path__, "vhs."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # or every child copies the pages on which its first collection counts


class Child:
    """A forked child that runs `work` in `folder` and ends with the code it returns; its streams are pipes."""

    def __init__(self, work: Callable[[], int], folder: Path, prepare: Callable[[], None] | None = None) -> None:
        self._begun = time.monotonic()
        pipes = [os.pipe() for _ in range(2)]
        self.pid = os.fork()
        if not self.pid:
            _become(work, folder, prepare, [write for _, write in pipes])
        for _, write in pipes:
            os.close(write)
        self._reading = [read for read, _ in pipes]
        self._found = {read: bytearray() for read in self._reading}

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Read both streams to their ends; one that does not end in time is killed and said to hang."""
        hung, open_ends = False, list(self._reading)
        while open_ends:
            left = self._begun + patience - time.monotonic()
            ready = select.select(open_ends, [], [], max(left, 0))[0]
            if not ready and not hung:
                hung = True
                self.kill()
                patience += 10
            for end in ready:
                data = os.read(end, 1 << 16)
                self._found[end] += data
                if not data:
                    open_ends.remove(end)
                    os.close(end)
        _, status, used = os.wait4(self.pid, 0)
        out, err = (bytes(self._found[end]) for end in self._reading)
        return Ended(
            os.waitstatus_to_exitcode(status), out, err.decode("utf-8", "replace"), time.monotonic() - self._begun, hung,
            used.ru_maxrss * 1024, used.ru_utime + used.ru_stime,
        )  # fmt: skip


def start(argv: Sequence[str], folder: Path, prepare: Callable[[], None] | None = None) -> Child:
    """`vhs ARGV` in `folder`, begun."""
    return Child(lambda: command(argv), folder, prepare)


def run(argv: Sequence[str], folder: Path, prepare: Callable[[], None] | None = None) -> Ended:
    """`vhs ARGV` in `folder`, to its end."""
    return start(argv, folder, prepare).wait()


def apart(work: Callable[[], Any], folder: Path) -> None:
    """Do something in a child, for what the parent must not do itself. Raises RuntimeError where it failed."""

    def done() -> int:
        work()
        return 0

    ended = Child(done, folder).wait()
    if ended.code:
        raise RuntimeError(f"{ended.code}: {ended.err}")


def command(argv: Sequence[str]) -> int:
    """What the console script does, the interpreter's last flush included."""
    from vhs import cli

    sys.argv = ["vhs", *argv]
    try:
        cli.run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        code = 1
        if sys.stderr is not None:
            traceback.print_exc()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        return FLUSHED_IN_VAIN
    return code


def _become(work: Callable[[], int], folder: Path, prepare: Callable[[], None] | None, ends: list[int]) -> None:
    """The child's life; never returns."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for wanted, end in enumerate((nothing, *ends)):
            os.dup2(end, wanted)
        os.closerange(3, 256)
        take_streams()
        if prepare:
            prepare()
        code = work()
    except BaseException:
        with contextlib.suppress(Exception):
            traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code & 0xFF)


def fenced(room: int = 4 << 30) -> None:
    """Let this process map so many bytes more and no more: what takes memory without end is not to take the machine's."""
    held = status("VmSize") + room
    resource.setrlimit(resource.RLIMIT_AS, (held, held))


def status(name: str) -> int:
    """A size of this process that the system tells, in bytes."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(name + ":"))


def take_streams() -> None:
    """Python's own streams on 0, 1 and 2 as at its start: None where nothing is open."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            stream = None
        else:
            stream = io.TextIOWrapper(
                open(number, mode + "b", closefd=False),  # noqa: SIM115
                encoding="utf-8",
                errors="backslashreplace" if number == 2 else "strict",
                line_buffering=number == 2,
            )
        setattr(sys, name, stream)


def answer(work: Callable[[], bytes], folder: Path = Path("/")) -> bytes:
    """What a function gives in a child."""

    def written() -> int:
        data = memoryview(work())
        while data:
            data = data[os.write(1, data) :]
        return 0

    ended = Child(written, folder).wait()
    if ended.code:
        raise RuntimeError(f"{ended.code}: {ended.err}")
    return ended.out
