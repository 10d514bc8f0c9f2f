"""Tars that others compressed: unpacked into files without a name, which go with the process."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from vhs.errors import InputError, VhsError
from vhs.formats import regular

OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""By the first bytes of a file."""
ZSTD = b"\x28\xb5\x2f\xfd"
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
BLOCK = 1 << 20


def stem(name: str) -> str | None:
    """A tar's name without its suffix; None for what is not called as one."""
    found = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
    return name.removesuffix(found) if found else None


def is_compressed(path: Path) -> bool:
    """Whether a file is compressed, by its first bytes."""
    return _opener(_start(path)) is not None


def opened(path: Path, where: object) -> IO[bytes]:
    """A tar as a file to read: itself, or what it unpacks to. Raises InputError for what cannot be unpacked."""
    start = _start(path)
    if start.startswith(ZSTD):
        raise InputError(f"{where}: is compressed by zstd, which is not read. Unpack it first.")
    opener = _opener(start)
    if opener is None:
        return path.open("rb")
    scratch = tempfile.TemporaryFile(prefix="vhs-")  # noqa: SIM115
    try:
        _unpack(opener, path, scratch, where)
    except BaseException:
        scratch.close()
        raise
    scratch.seek(0)
    return scratch


def _unpack(opener: Callable[..., Any], path: Path, scratch: IO[bytes], where: object) -> None:
    packed, size = path.stat().st_size, 0
    try:
        with opener(path, "rb") as file:
            while block := file.read(BLOCK):
                size += len(block)
                regular.check_unpacked(size, packed, str(where))
                _write(scratch, block)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{where}: cannot be unpacked: {error}. Write it again.") from error


def _write(scratch: IO[bytes], block: bytes) -> None:
    try:
        scratch.write(block)
        scratch.flush()
    except OSError as error:
        raise VhsError(
            f"{tempfile.gettempdir()}: has no room for an unpacked tar: {error.strerror}. Name another folder in "
            f"$TMPDIR."
        ) from error


def _opener(start: bytes) -> Callable[..., Any] | None:
    return next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)


def _start(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no regular file.")
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error
