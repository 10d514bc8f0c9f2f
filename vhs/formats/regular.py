"""Reading whole files that others supply: regular ones only, since a FIFO or a device would never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vhs.errors import InputError

MOST = 1 << 32
"""Bytes of a file that is read whole."""
MAX_UNPACKED, MAX_SQUEEZED = 1 << 28, 100
"""Compressed arrays larger than both MAX_UNPACKED bytes and MAX_SQUEEZED times their compressed size are not unpacked:
images shrink 2 to 10 times, while some megabytes of zeros unfold to gigabytes."""


def read(path: Path, most: int = MOST) -> bytes:
    """All of a regular file of at most `most` bytes. Raises InputError for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # does not wait for a FIFO's writer
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size <= most:
                return file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read: {reason}.") from error
    if stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: has {status.st_size:,} bytes; at most {most:,} were expected.")
    raise InputError(f"{path}: is no regular file but a {_kind(status.st_mode)}.")


def text(path: Path) -> str:
    """All of a regular UTF-8 file. Raises InputError for anything else."""
    try:
        return read(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no UTF-8 text: {error}.") from error


def check_unpacked(size: int, packed: int, where: str) -> None:
    """Raises InputError where `packed` compressed bytes would unfold to an unlikely `size`."""
    if size > max(MAX_UNPACKED, MAX_SQUEEZED * packed):
        raise InputError(f"{where}: {packed:,} bytes would unpack to {size:,}; that is no data set of images.")


def _kind(mode: int) -> str:
    return "folder" if stat.S_ISDIR(mode) else "FIFO" if stat.S_ISFIFO(mode) else "device or socket"
