"""One array in the IDX format of MNIST."""

from __future__ import annotations

import struct

import numpy as np

from vhs.errors import InputError

MAX_VALUES, MAX_DIMENSIONS = 1 << 34, 4


def parse(data: bytes, where: str) -> tuple[np.ndarray, bytes]:
    """One uint8 or uint32 IDX array from the start of `data`, and the bytes after it."""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in (0x08, 0x0C):
        raise InputError(f"{where}: is not an IDX file of unsigned bytes.")
    dtype = np.dtype(">u1" if data[2] == 0x08 else ">i4")
    head = 4 + 4 * data[3]
    if len(data) < head:
        raise InputError(f"{where}: ends in its header; the file is truncated.")
    shape = struct.unpack(f">{data[3]}I", data[4:head])
    count = int(np.prod(shape, dtype=object))
    end = head + count * dtype.itemsize
    if count > MAX_VALUES or len(data) < end:
        raise InputError(f"{where}: says {shape!s:.80}, which is {end} bytes, but has {len(data)}; truncated?")
    return np.frombuffer(data, dtype, count, head).reshape(shape), data[end:]
