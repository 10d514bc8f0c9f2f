"""Parquet files of a data set on the Hugging Face hub: which there are of each split."""

from __future__ import annotations

import re
from pathlib import Path

from vhs.errors import InputError
from vhs.sources.folders import SPLITS

NAME = re.compile(r"(train|validation|valid|val|test)(-(\d+)-of-(\d+)(-[0-9a-f]+)?)?\.parquet")
CONVERTED = re.compile(r"\d{4}\.parquet")
"""A file of a folder called after a split, as the hub's own conversion names it: default/train/0000.parquet."""


def of_splits(folder: Path) -> dict[str, list[Path]]:
    """The files of each split. Raises InputError where one of several is missing."""
    for place in (folder / "data", folder, folder / "default"):
        found: dict[str, list[Path]] = {}
        for path in sorted(place.glob("*.parquet")):
            if match := NAME.fullmatch(path.name):
                found.setdefault(SPLITS[match[1]], []).append(path)
        for paths in found.values():
            _check_whole(paths)
        for name, split in SPLITS.items() if not found else ():
            if paths := sorted(path for path in (place / name).glob("*.parquet") if CONVERTED.fullmatch(path.name)):
                _check_numbers(paths)
                found.setdefault(split, []).extend(paths)
        if found:
            return found
    return {}


def _check_whole(paths: list[Path]) -> None:
    matches = [match for path in paths if (match := NAME.fullmatch(path.name)) and match[3]]
    there = {int(match[3]) for match in matches}
    count = max((int(match[4]) for match in matches), default=0)
    missing = next((number for number in range(count) if number not in there), None)
    if missing is not None:
        name = f"{matches[0][1]}-{missing:05d}-of-{count:05d}"
        raise InputError(f"{paths[0].parent / name}.parquet: is missing. Download all {count} files of the split.")


def _check_numbers(paths: list[Path]) -> None:
    missing = next((number for number, path in enumerate(paths) if int(path.stem) != number), None)
    if missing is not None:
        raise InputError(f"{paths[0].parent / f'{missing:04d}.parquet'}: is missing. Download all files of the split.")
