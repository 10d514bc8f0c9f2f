"""What readers of published archives share: the folder that one unpacks to, under any name, or the one around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vhs.errors import InputError


def place(folder: Path, name: str, marks: Sequence[str]) -> Path | None:
    """`folder`, or `folder/name`, whichever holds one of the files or folders `marks`; None where neither does."""
    return next((at for at in (folder, folder / name) if any((at / mark).exists() for mark in marks)), None)


def checked(folder: Path, name: str, marks: Sequence[str], needed: Sequence[str]) -> Path:
    """The same, with all that is `needed`. Raises InputError naming what is missing."""
    at = place(folder, name, marks)
    if at is None:
        raise InputError(f"{folder}: holds none of {', '.join(marks)}; expected {name} as it is unpacked.")
    missing = next((part for part in needed if not (at / part).exists()), None)
    if missing is not None:
        raise InputError(f"{at / missing}: is missing; expected {', '.join(needed)}. Unpack the archive whole.")
    return at
