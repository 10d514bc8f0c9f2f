"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        # resolved, so that a symbolic link keeps pointing and its target is replaced
        target = path.resolve()
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise VhsError(f"{path}: cannot be written: {error.strerror or error}. Nothing was left there.") from error


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
    seen: dict[Path, Path] = {}
    sources = {Path(name).resolve() for name in inputs if name != "-"}
    for path in outputs:
        if path is None or not is_ordinary(path):
            continue
        check_target(path)
        real = path.resolve()
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


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
