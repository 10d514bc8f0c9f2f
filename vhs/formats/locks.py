"""One run at a time for each output: `OUT.lock`, held for the life of a run.

POSIX record locks (`lockf`): the system drops them with the process, however it ends, and a forked worker does not
keep them. They also go when the process closes any other handle of the file, so it is opened nowhere else.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from vhs.errors import VhsError
from vhs.progress import Note, unheard
from vhs.world import is_first

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What file systems without locks answer."""
TAKEN = (errno.EACCES, errno.EAGAIN)


@contextmanager
def hold(outputs: Iterable[Path | None], note: Note = unheard) -> Iterator[None]:
    """Hold the lock of each output (None: nothing to hold) inside the block; of several processes the first does.

    Raises VhsError at once where another run holds one. Where the file system has no locks, says so and goes on.
    """
    with ExitStack() as stack:
        for out in outputs if is_first() else ():
            if out is not None:
                stack.enter_context(_hold(out, note))
        yield


def path_of(out: Path) -> Path:
    return out.with_name(out.name + ".lock")


@contextmanager
def _hold(out: Path, note: Note) -> Iterator[None]:
    path = path_of(Path(os.path.realpath(out)))
    handle = _take(path, out, note)
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)  # while it is still held
            os.close(handle)


def _take(path: Path, out: Path, note: Note) -> int | None:
    """A handle of the locked file; None where there are no locks."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise VhsError(f"{out}: cannot be written there: {error.strerror}. Name another output.") from error
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 20).decode(errors="replace").strip()
            os.close(handle)
            if error.errno in UNSUPPORTED:
                path.unlink(missing_ok=True)
                note(f"{path}: this file system has no locks; see to it that no other run writes {out.name}")
                return None
            if error.errno not in TAKEN:
                raise
            raise VhsError(
                f"{out}: another run is writing it{f' (process {holder})' if holder else ''} and holds {path.name}. "
                f"Wait for it, or name another output."
            ) from None
        if is_still(path, handle):
            with suppress(OSError):  # who holds it helps a reader; a full disk is no reason not to hold it
                os.truncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            return handle
        os.close(handle)  # the run before removed the file between our opening and locking it


def is_still(path: Path, handle: int) -> bool:
    """Whether the file locked is the one that has the name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
