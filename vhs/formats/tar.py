"""Tar files: written byte-identically, read through an index.

The reader walks the 512-byte headers itself (tarfile's parsing is what costs) and believes nothing:
only regular files, listed suffixes, plain relative names.
"""

from __future__ import annotations

import io
import mmap
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from vhs.errors import InputError

BLOCK, CHUNK = 512, 1 << 20
REGULAR = (b"0", b"\0")
KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a FIFO"}


class Member(NamedTuple):
    """A regular file inside a tar: its name and where its bytes lie."""

    name: str
    offset: int
    size: int

    def of(self, data: memoryview) -> memoryview:
        """Its bytes. data: the tar's."""
        return data[self.offset : self.offset + self.size]


def tar_bytes(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A USTAR archive of (name, data) with fixed times, modes and owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def open_tar(path: Path) -> mmap.mmap | bytes:
    """The bytes of a tar, mapped. Raises InputError when it cannot be read."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no regular file.")
    try:
        with path.open("rb") as file:
            return mapped(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


def mapped(file: IO[bytes]) -> mmap.mmap | bytes:
    """The bytes of an open tar, mapped; they stay when it is closed."""
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:
        return b""  # an empty file cannot be mapped


def members(data: mmap.mmap | memoryview | bytes, where: object, *, others: bool = False) -> Iterator[Member]:
    """Index a tar. Raises InputError naming the tar and member for anything but plain regular files.

    others: whether members of other kinds (links, devices) are left alone instead, as in tars that others wrote.
    """
    position, long_name, size_override = 0, None, None
    while True:
        header = bytes(data[position : position + BLOCK])
        if len(header) < BLOCK:
            raise InputError(f"{where}: ends in the middle of a header; the file is truncated. Write it again.")
        if header[0] == 0 and not header.strip(b"\0"):
            if others:
                _check_end(data, position, where)
            return
        name, size, kind = _parse(header, where)
        offset = position + BLOCK
        size = size_override if size_override is not None and kind in REGULAR else size
        if offset + size > len(data):
            raise InputError(f"{where}: {name}: is cut off; the file is truncated. Write it again.")
        position = offset + -(-size // BLOCK) * BLOCK
        if kind == b"L":
            long_name = _text(bytes(data[offset : offset + size]))
        elif kind in (b"x", b"X"):
            long_name, size_override = _pax(bytes(data[offset : offset + size]), where)
        elif kind in (b"g", b"5"):
            continue
        else:
            if kind in REGULAR or not others:
                yield _check(Member(long_name or name, offset, size), kind, where)
            long_name, size_override = None, None


def _check_end(data: mmap.mmap | memoryview | bytes, end: int, where: object) -> None:
    """Raises InputError for anything but zeros behind the mark of a tar's end: what was joined there nobody reads."""
    for start in range(end, len(data), CHUNK):
        rest = bytes(data[start : start + CHUNK])
        if rest.count(0) < len(rest):
            raise InputError(
                f"{where}: holds more behind the mark of its end, at byte {end:,}, which no reader of tars sees. "
                f"Was it joined of several? `tar --concatenate` joins them, or name each."
            )


def _parse(header: bytes, where: object) -> tuple[str, int, bytes]:
    stored = header[148:156]
    # Adler's first half is 1 + the sum of the bytes, modulo 65521, which 512 bytes below 128 do not reach.
    total = (zlib.adler32(header) & 0xFFFF) - 1 if header.isascii() else sum(header)
    try:
        if int(stored.split(b"\0", 1)[0], 8) != total - sum(stored) + 32 * 8:
            raise ValueError
        if header[124] & 0x80:
            size = int.from_bytes(header[125:136], "big")
        else:
            digits = header[124:136].strip(b" \0") or b"0"
            size = int(digits, 8)
            if not digits.isdigit():
                raise ValueError
    except ValueError:
        raise InputError(f"{where}: damaged header; this is not a tar file, or it is corrupt.") from None
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[345] and header[257:262] == b"ustar" else ""
    return (f"{prefix}/{name}" if prefix else name), size, header[156:157]


def _pax(data: bytes, where: object) -> tuple[str | None, int | None]:
    """The path and size records of a PAX extended header; others may hold any bytes."""
    records: dict[bytes, bytes] = {}
    while data:
        try:
            length = int(data.split(b" ", 1)[0])
            if length < 5:
                raise ValueError
            key, value = data[:length].split(b" ", 1)[1].removesuffix(b"\n").split(b"=", 1)
        except (ValueError, IndexError):
            raise InputError(f"{where}: damaged PAX header; the file is corrupt.") from None
        records[key] = value
        data = data[length:]
    size, path = records.get(b"size"), records.get(b"path")
    if size is not None and not (size.isdigit() and len(size) < 20):
        raise InputError(f"{where}: damaged PAX header; the file is corrupt.")
    return None if path is None else _text(path), None if size is None else int(size)


def _check(member: Member, kind: bytes, where: object) -> Member:
    if kind not in REGULAR:
        what = KINDS.get(kind, f"of tar type {kind!r}")
        raise InputError(f"{where}: {member.name}: is {what}; a shard holds regular files only.")
    name = member.name
    if name.startswith("/") or "\\" in name or (".." in name and ".." in name.split("/")):
        raise InputError(f"{where}: {member.name}: leaves the archive; a shard holds plain relative names only.")
    return member


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
