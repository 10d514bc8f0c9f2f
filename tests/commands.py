"""What tests of commands share: two shifts, a table as it was printed, an image that cannot be decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl

SHIFT = ("--shift", "contrast:3", "--shift", "gaussian_noise:5")


def rows(text: str) -> pl.DataFrame:
    """CSV as a table."""
    return pl.read_csv(text.encode())


def run_in(folder: Path, commands: Sequence[Sequence[object]]) -> None:
    """Run commands in a folder, in this process, which has imported what they need."""
    from vhs.cli import main

    before = Path.cwd()
    os.chdir(folder)
    try:
        for command in commands:
            assert main([*map(str, command), "--quiet"]) == 0, command
    finally:
        os.chdir(before)


def damage_an_image(tar: Path) -> None:
    """Overwrite a few bytes of the second PNG of a tar of toys, `val-00001`."""
    data = bytearray(tar.read_bytes())
    start = data.index(b"\x89PNG", 3000)
    data[start + 45 : start + 60] = bytes(15)
    tar.write_bytes(data)
