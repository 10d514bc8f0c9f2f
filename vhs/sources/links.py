"""Symbolic links in a source: what they would pack may lie outside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vhs.errors import InputError
from vhs.formats.images import SUFFIXES

READ = (*SUFFIXES, "csv", "json", "npy", "npz", "gz", "txt", "bin", "mat", "parquet")
"""Suffixes of what is read."""


def check(source: Path) -> None:
    """Raises InputError for a link in the folder `source` that leads out of it to a folder or a file that is read."""
    root = os.path.realpath(source)
    for path in _links(root):
        target = os.path.realpath(path)
        inside = os.path.commonpath([root, target]) == root
        if not inside and (os.path.isdir(target) or Path(path).suffix[1:].lower() in READ):
            raise InputError(
                f"{path}: is a link to {target}, outside {source}. Pack what such links lead to with --follow-links."
            )


def _links(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield entry.path
            elif entry.is_dir(follow_symlinks=False):
                yield from _links(entry.path)
