"""Sending the training log to an experiment tracker. It may fail; training goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vhs.errors import UsageError, choices

TRACKERS = ("wandb",)
PATIENCE = 30
"""Seconds a tracker may take to begin."""


class Tracker:
    """One run of a tracker; a failure is told once, and nothing is sent after it."""

    def __init__(self, name: str, config: Mapping[str, Any], warn: Callable[[str], None]) -> None:
        """name: of TRACKERS. Raises UsageError for another, or one that is not installed."""
        if name not in TRACKERS:
            raise UsageError(f"--track {name}: expected {choices(TRACKERS)}.")
        try:
            import wandb
        except ImportError as error:
            raise UsageError("--track wandb: is not installed. pip install 'vhs-heads[wandb]'.") from error
        self._warn = warn
        self._run: Any = None
        settings = wandb.Settings(init_timeout=PATIENCE)
        self._run = self._attempt(lambda: wandb.init(project="vhs", config=dict(config), settings=settings))

    def log(self, row: Mapping[str, Any]) -> None:
        """One row of the training log."""
        if self._run is not None:
            self._attempt(lambda: self._run.log(dict(row), step=row["step"]))

    def finish(self) -> None:
        """Hand over what is not sent yet."""
        if self._run is not None:
            self._attempt(lambda: self._run.finish())

    def _attempt(self, send: Callable[[], Any]) -> Any:
        try:
            return send()
        except Exception as error:  # whatever a tracker raises
            self._warn(f"wandb: {' '.join(str(error).split())[:160] or type(error).__name__}; going on without it")
            self._run = None
            return None
