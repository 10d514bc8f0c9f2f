"""What tests of commands share: two shifts, and a table as it was printed."""

from __future__ import annotations

import polars as pl

SHIFT = ("--shift", "contrast:3", "--shift", "gaussian_noise:5")


def rows(text: str) -> pl.DataFrame:
    """CSV as a table."""
    return pl.read_csv(text.encode())
