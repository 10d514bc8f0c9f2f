"""What tests of parts share: runs as they are typed, their parts, and what both wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

Vhs = Callable[..., tuple[int, str, str]]


class Typed:
    """`vhs`, with the words of each command where a table's provenance and a part look for them."""

    def __init__(self, vhs: Vhs, monkeypatch: pytest.MonkeyPatch) -> None:
        self._vhs, self._monkeypatch = vhs, monkeypatch

    def __call__(self, *words: object, code: int = 0) -> str:
        """What it said; code: what it must end with."""
        self._monkeypatch.setattr("sys.argv", ["vhs", *map(str, words)])
        found, _, err = self._vhs(*words)
        assert found == code, err
        return err

    def whole(self, command: Sequence[object], out: str = "t.csv") -> dict[str, bytes]:
        """All that the whole run writes, by name; nothing is left."""
        self(*command, "-o", out)
        return taken()

    def parts(self, command: Sequence[object], count: int) -> list[str]:
        """The parts of the run, in files."""
        names = [f"p.{index}.part" for index in range(count)]
        for index, name in enumerate(names):
            self(*command, "--part", f"{index}/{count}", "-o", name)
        return names

    def merged(self, parts: Sequence[str], *options: object, out: str = "t.csv") -> dict[str, bytes]:
        """All that merging writes, by name; nothing is left of it."""
        self("merge", *parts, *options, "-o", out)
        return taken()


def taken() -> dict[str, bytes]:
    """The tables of this folder, which are removed."""
    found = {path.name: path.read_bytes() for path in Path().iterdir() if path.name.split(".")[0] == "t"}
    for name in found:
        Path(name).unlink()
    return found
