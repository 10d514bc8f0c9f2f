"""NumPy's files, which others made: `.npy` arrays and `.npz` archives of plain numbers."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats import regular


def array(path: Path) -> np.ndarray:
    """A `.npy` array, mapped, not read. Raises InputError for anything else."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no regular file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers as old versions wrote them
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the parser of headers raises many kinds
        raise InputError(f"{path}: is no NumPy array: {_reason(error)}.") from error


def archive(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` archive by name.

    Raises InputError for anything else, for arrays that would unfold beyond measure, and for headers that say more
    than is there.
    """
    data = regular.read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                _check_sizes(found, path)
                return {name: found[name] for name in found.files}
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: is no NumPy archive of plain arrays: {_reason(error)}.") from error


def _check_sizes(found: np.lib.npyio.NpzFile, path: Path) -> None:
    for info in found.zip.infolist() if found.zip else ():
        regular.check_unpacked(info.file_size, info.compress_size, f"{path}: {info.filename}")
        with found.zip.open(info) as file:  # type: ignore[union-attr]
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
        if int(np.prod(shape, dtype=object)) * dtype.itemsize > info.file_size:
            raise InputError(f"{path}: {info.filename} says {shape}, which is more than its {info.file_size:,} bytes.")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
