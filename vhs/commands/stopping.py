"""Signals that ask a long command to finish what it is at."""

from __future__ import annotations

import signal
from types import FrameType

import typer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Inside the block SIGINT, SIGTERM and SIGHUP ask for a stop after the update under way."""

    def __init__(self) -> None:
        self._received = 0

    def __enter__(self) -> StopSignals:
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores one
        self._before = {number: signal.signal(number, self._receive) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return bool(self._received)

    def end(self) -> None:
        """End the program as the signal asked: exit code 128 and its number."""
        raise typer.Exit(128 + self._received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received:  # asked twice: at once
            signal.signal(number, self._before[signal.Signals(number)])
            signal.raise_signal(number)
        self._received = number
        del frame
