"""One kind of file: a sound one, where it lies, ways to damage it, and what reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults import toys
from tests.faults.cases import Files
from tests.faults.damage.blind import Mutator

Reading = tuple[str, ...] | Callable[[], object]
"""A command, or a function of ours called directly, which costs less."""

PLACES = ("folder", "missing", "fifo", "dangling", "loop", "zeros", "socket")
"""What stands where the file should: inputs 0 to 6 of each format."""
NAMED = ("folder", "missing", "dangling", "loop", "socket")
"""Of files named on the command line, which may be pipes."""
OURS = ("folder", "missing", "fifo")
"""Of files that vhs made for itself."""
MODEL = "../toys/a.safetensors"
TRAIN = ("train", "../toys/shards", *toys.SMALL, "--seed", "0", "-o", "m.safetensors")


@dataclass(frozen=True)
class Format:
    """files: a folder of sound files, `file` of which is damaged.

    readings: what reads it, each with how often, of 100 times. share: of all inputs, relative to other formats.
    seal: what a success must mean: `same`, that stdout and products are those of the sound file; `done`, that it must
    succeed so; `refused`, that it must not. "": that there is no hash to tell. places: what else may stand there. stdin:
    whether it is read from there.
    """

    name: str
    files: Files
    file: str
    ways: tuple[Mutator, ...]
    readings: tuple[tuple[int, Reading], ...]
    share: float = 1.0
    seal: str = ""
    places: tuple[str, ...] = PLACES
    stdin: bool = False
