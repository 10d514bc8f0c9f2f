"""Alternate two callables in one process and compare their times."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable

Timed = Callable[[], object]


def alternate(
    ours: Timed,
    other: Timed,
    *,
    rounds: int,
    sync: Timed = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float, float]:
    """(seconds of ours, seconds of the other, other / ours), medians over `rounds`, after one warm-up each.

    clock: `time.process_time` for what runs in one thread on a machine that others use, too.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for round_number in range(rounds + 1):
        for kept, call in zip(times, (ours, other), strict=True):
            sync()
            begun = clock()
            call()
            sync()
            if round_number:
                kept.append(clock() - begun)
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    return statistics.median(times[0]), statistics.median(times[1]), ratio


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def machine() -> str:
    import timm
    import torch

    where = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"torch {torch.__version__}, timm {timm.__version__}, {where}, {torch.get_num_threads()} threads"
