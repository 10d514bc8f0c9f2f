"""Which of several processes on one run this is. Reads the environment torchrun sets; needs no torch."""

from __future__ import annotations

import os


def world() -> tuple[int, int]:
    """(rank, ranks) of this process as torchrun numbers them; (0, 1) when it runs alone."""
    try:
        rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        return 0, 1
    return (rank, ranks) if 0 <= rank < ranks else (0, 1)


def local_rank() -> int:
    """The number of this process on its machine, by which it takes a GPU."""
    text = os.environ.get("LOCAL_RANK", "0")
    return int(text) if text.isdecimal() else 0


def local_ranks() -> int:
    """How many processes of the run are on this machine."""
    text = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(int(text), 1) if text.isdecimal() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and talks."""
    return world()[0] == 0
