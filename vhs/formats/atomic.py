"""Files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

from vhs.errors import UsageError, VhsError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the name `path` only when the block ends well.

    Written under a temporary name in the same folder (opened the ordinary way, so that the umask
    holds), synced, renamed. A target that exists and is no regular file (a device, a FIFO) is
    written directly. Raises VhsError naming the path and the system's reason.
    """
    with _rename_at_the_end(path) as file:
        yield file
        _sync(file)


@contextmanager
def _rename_at_the_end(path: Path) -> Iterator[BinaryIO]:
    """The same, but that the block syncs it."""
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # resolved, so that a symbolic link keeps pointing and its target is replaced
        target = Path(os.path.realpath(path))
        _collect(target)
        temporary, opened = _temporary(target)
        try:
            with opened:
                yield opened
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise VhsError(f"{path}: cannot be written: {error.strerror or error}. Nothing was left there.") from error


def _temporary(target: Path) -> tuple[Path, BinaryIO]:
    """A new file beside `target`, locked where the file system has locks, so that nobody takes it for a dead run's."""
    while True:
        path = target.with_name(f".{target.name[:200]}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        file = path.open("xb")
        _lock(file.fileno())
        if path.exists():
            return path, file
        file.close()  # collected between opening and locking


def _lock(handle: int) -> bool:
    """Whether this process holds the file now; where there are no locks, False."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _collect(target: Path) -> None:
    """Remove what killed writers of `target` left: temporary files that no process holds."""
    for path in target.parent.glob(f".{escape(target.name[:200])}.*.tmp"):
        if path.name.split(".")[-2].startswith(f"{os.getpid()}-"):
            continue  # of another thread of ours; closing it here would drop its lock
        with suppress(OSError), path.open("r+b") as file:
            if _lock(file.fileno()):
                path.unlink()


def _sync(file: BinaryIO) -> None:
    file.flush()
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        os.fsync(file.fileno())


def write_together(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write files of which none takes its name before all are written; they take them in this order.

    Each is synced before the first takes its name, so that nothing but the renaming is left to fail.
    """
    with ExitStack() as stack:
        for path, data in reversed(files):
            file = stack.enter_context(_rename_at_the_end(path))
            file.write(data)
            _sync(file)


def check_target(path: Path) -> None:
    """Before long work: raise VhsError when `path` could not be written at its end."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not folder.is_dir():
        raise VhsError(f"{path if path.is_dir() else folder}: is {_kind(path)}. Name another file.")
    if not path.exists() and not os.access(folder, os.W_OK | os.X_OK):
        raise VhsError(f"{path}: its folder cannot be written. Name another file.")


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[str]) -> None:
    """Before long work: every output can be written, none is an input, no two are one file.

    Raises UsageError naming the clash, VhsError for what cannot be written.
    """
    seen: dict[str, Path] = {}
    sources = {os.path.realpath(name) for name in inputs if name != "-"}
    for path in outputs:
        if path is None or not is_ordinary(path):
            continue
        check_target(path)
        real = os.path.realpath(path)
        if real in sources:
            raise UsageError(f"{path}: is an input of this command; writing there would destroy it. Name another file.")
        if real in seen:
            raise UsageError(f"{path}: two results would be written to this one file. Name two.")
        seen[real] = path


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "no folder"


def is_ordinary(path: Path) -> bool:
    """Whether `path` is written as a file of ours: no device, FIFO or `-`. Folders are `check_target`'s to refuse."""
    return path != Path("-") and (path.is_file() or path.is_dir() or not path.exists())


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with whole_file(path) as file:
        file.write(data)


def write_own(path: Path, data: bytes) -> None:
    """The same for a file of our own naming, where nobody meant a device or a FIFO: what stands there is replaced."""
    if path.exists() and not path.is_file() and not path.is_dir():
        path.unlink()
    write_whole(path, data)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
