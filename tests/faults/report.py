"""What was done and what went wrong: counts, worst values, and violations by kind with the first of each."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Item = TypeVar("Item")
SHOWN = 400
"""Characters of an example."""


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def spread(items: Sequence[Item], count: int | None) -> list[Item]:
    """`count` of the items, evenly spread; all without a number."""
    if count is None or count >= len(items):
        return list(items)
    return [items[(2 * place + 1) * len(items) // (2 * count)] for place in range(count)]


@dataclass
class Report:
    """The figures of one part."""

    part: str
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    worst: dict[str, tuple[float, str]] = field(default_factory=dict)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def count(self, group: str, what: str, number: int = 1) -> None:
        self.counts.setdefault(group, Counter())[what] += number

    def measure(self, what: str, value: float, where: str) -> None:
        if value > self.worst.get(what, (-1.0, ""))[0]:
            self.worst[what] = value, where

    def violation(self, what: str, where: str) -> None:
        """what: its kind, the same for all that are alike; where: how to see this one."""
        self.wrong.setdefault(what, []).append(where)

    def tell(self) -> bool:
        """Print everything; whether nothing went wrong."""
        seconds = time.monotonic() - self.begun
        say(f"== {self.part}, {seconds:.0f} s")
        for group, counts in self.counts.items():
            told = ", ".join(f"{number:,} {what}" for what, number in sorted(counts.items()))
            say(f"  {group:<24} {told}")
        for what, (value, where) in self.worst.items():
            say(f"  worst {what:<18} {value:,.1f}  ({where})")
        for what, places in sorted(self.wrong.items(), key=lambda item: -len(item[1])):
            say(f"  VIOLATION x{len(places)}: {what}\n      {places[0][:SHOWN]}")
        say(f"  {sum(map(len, self.wrong.values()))} violations of {len(self.wrong)} kinds")
        return not self.wrong
