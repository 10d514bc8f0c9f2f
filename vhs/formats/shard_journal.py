"""What is done of a shard set that is being written, kept tar by tar, so that a killed run goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vhs.errors import InputError
from vhs.formats import regular
from vhs.formats.atomic import sha256, write_own
from vhs.formats.manifest import TarEntry

JOURNAL = "shards.partial.json"


class Encoded(NamedTuple):
    """One sample ready for its tar. pixels: sums of values and squares per channel, and their number."""

    members: list[tuple[str, bytes]]
    sums: np.ndarray
    squares: np.ndarray
    size: tuple[int, int]


@dataclass
class Written:
    """What a finished tar adds to the manifest; kept in the journal."""

    tars: list[dict[str, Any]] = field(default_factory=list)
    sums: list[list[int]] = field(default_factory=list)
    squares: list[list[int]] = field(default_factory=list)
    sizes: list[list[list[int]]] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, entry: TarEntry, encoded: Sequence[Encoded]) -> None:
        """A further tar, and what was summed over its samples."""
        self.tars.append(entry._asdict())
        self.sums.append(sum((sample.sums for sample in encoded), np.zeros(1, int)).tolist())
        self.squares.append(sum((sample.squares for sample in encoded), np.zeros(1, int)).tolist())
        self.sizes.append([list(size) for size in sorted({sample.size for sample in encoded})[:2]])
        self.pixels.append(sum(sample.size[0] * sample.size[1] for sample in encoded))


def resume(out: Path, plan: str, journal: str = JOURNAL) -> Written | None:
    """The state of an interrupted run of this plan; None where there is none, or it is damaged."""
    return saved(out / journal, plan)


def saved(path: Path, plan: str | None = None) -> Written | None:
    """What a journal holds, if it is sound, and of this plan where one is named."""
    try:
        if not path.exists():
            return None
        told = json.loads(regular.read(path))
        if told["digest"] != _digest(told["plan"], told["state"]) or plan not in (None, told["plan"]):
            return None
        state = Written(**told["state"])
        [TarEntry(**entry) for entry in state.tars]
        return state
    except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def save_journal(out: Path, plan: str, state: Written, journal: str = JOURNAL) -> None:
    """Keep what is done, for a run that goes on."""
    record = {"plan": plan, "state": vars(state), "digest": _digest(plan, vars(state))}
    write_own(out / journal, json.dumps(record).encode())


def _digest(plan: str, state: Any) -> str:
    return sha256(json.dumps([plan, state], sort_keys=True).encode())
