"""What tests of commands share: two shifts, and a table as it was printed."""

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
