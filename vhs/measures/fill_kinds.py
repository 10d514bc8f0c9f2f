"""Names of the fills, and what each needs; importing them costs nothing."""

from __future__ import annotations

from vhs.errors import UsageError, choices

FILLS = ("zero", "mean", "mean-flat", "resample", "uniform", "mean-map", "twin", "twin-break")
BANKED = ("mean", "mean-flat", "resample", "mean-map")
"""Those that need other images."""
SPREAD = ("uniform", "mean-map")
"""Fills that keep a head's values and change how they are averaged."""


def parse(text: str) -> tuple[str, ...]:
    """`zero,mean` -> the fills, each once. Raises UsageError listing the legal ones."""
    kinds = tuple(dict.fromkeys(text.split(",")))
    for kind in kinds:
        if kind not in FILLS:
            raise UsageError(f"--fill {kind}: expected {choices(FILLS)}, several joined by commas.")
    return kinds
