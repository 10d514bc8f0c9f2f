"""Published pickles of NumPy arrays: unpickled with the published md5 alone, and into plain values and arrays only."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vhs.errors import InputError
from vhs.formats import regular

MOST = 1 << 28
"""Bytes of a pickle; the largest published one read here has 155 million."""


def load(path: Path, md5: str, advice: str) -> Any:
    """What the pickle holds, strings of Python 2 as Latin-1. advice: what to do about a file that is not that one.

    Raises InputError for another md5, before anything is unpickled, and for a pickle that names more than arrays.
    """
    data = regular.read(path, MOST)
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise InputError(
            f"{path}: has {len(data):,} bytes of md5 {found}; expected {md5}, the published one. It was not unpickled. "
            f"{advice}"
        )
    try:
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # damaged pickles raise many kinds
        raise InputError(f"{path}: is no pickle of arrays and plain values: {error}. {advice}") from error


class _Unpickler(pickle.Unpickler):
    """A pickle calls what it names: here that is what makes NumPy's arrays, or nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not called")
        return KNOWN[module, name]


def _dtype(code: str, align: int = 0, copy: int = 1) -> np.dtype:
    """Of the whole numbers that old versions of NumPy wrote for yes and no, which new ones will refuse."""
    return np.dtype(code, bool(align), bool(copy))


def _bytes(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the protocols of Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes as {encoding!r}; expected latin1")
    return text.encode("latin1")


_reconstruct: Any = np.empty(0, np.uint8).__reduce__()[0]
KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _bytes,
}
"""What a pickle of arrays may name, by module and name, of NumPy 1 and 2."""
