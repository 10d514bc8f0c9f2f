"""Signals that ask a long command to finish what it is at."""

from __future__ import annotations

import signal
from types import FrameType

import typer


class StopSignals:
    """Inside the block SIGINT and SIGTERM ask for a stop after the update under way."""

    def __init__(self) -> None:
        self._received = 0

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return bool(self._received)

    def end(self) -> None:
        """End the program as the signal asked: exit code 130 or 143."""
        raise typer.Exit(128 + self._received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received:  # asked twice: at once
            signal.signal(number, self._before[signal.Signals(number)])
            signal.raise_signal(number)
        self._received = number
        del frame
