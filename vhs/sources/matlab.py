"""MATLAB files of version 5, which others made: plain arrays of numbers by name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats import regular

HDF5 = b"MATLAB 7.3 MAT-file"
BYTES = {
    "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8, "single": 4,
    "double": 8,
}  # fmt: skip
"""Kinds of array that are read, and the bytes of a value."""


def arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays called `names`. Cells, structures and objects are never built.

    Raises InputError for a file that is not of version 5, lacks one, or says more than it can hold.
    """
    from scipy.io import loadmat, whosmat

    _check_version(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            held = {name: (shape, kind) for name, shape, kind in whosmat(str(path))}
            _check_held(path, held, names)
            found = loadmat(str(path), variable_names=list(names))
            return {name: found[name] for name in names}
    except InputError:
        raise
    except Exception as error:  # SciPy's reader raises many kinds
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"{path}: cannot be read as a MATLAB file: {reason}. Is it whole? Download it again."
        ) from error


def _check_version(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: is {'no regular file' if path.exists() else 'missing'}; a MATLAB file was expected.")
    with path.open("rb") as file:
        head = file.read(128)
    if head.startswith(HDF5):
        raise InputError(
            f"{path}: is of MATLAB 7.3 (HDF5); version 5 is read, in which it is published. In MATLAB: save -v7."
        )


def _check_held(path: Path, held: dict[str, tuple[tuple[int, ...], str]], names: Sequence[str]) -> None:
    for name in names:
        if name not in held or held[name][1] not in BYTES:
            told = ", ".join(f"{each} ({kind})" for each, (_, kind) in held.items()) or "nothing"
            raise InputError(f"{path}: holds {told}; expected an array {name} of numbers. Is the file whole?")
        shape, kind = held[name]
        size = int(np.prod(shape, dtype=object)) * BYTES[kind]
        regular.check_unpacked(size, path.stat().st_size, f"{path}: {name}")
