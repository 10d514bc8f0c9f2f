"""One batch of damaged inputs, read one after another in a forked child that tells of each.

A child serves many inputs, so that an input costs milliseconds; one that hangs or dies takes only its own with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import time
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults import cases, warm
from tests.faults.cases import Files
from tests.faults.damage import blind
from tests.faults.sound.format import PLACES, Format, Reading

ERRORS = 301
"""Where the worker keeps its own stderr while commands write to another."""


@dataclass(frozen=True)
class Batch:
    format: Format
    seed: int
    indices: tuple[int, ...]


def work(batch: Batch, folder: Path, end: int) -> int:
    """Read every input of the batch in `folder`; before and after each, a line of JSON to the descriptor `end`."""
    os.dup2(2, ERRORS)
    try:
        _work(batch, folder, end)
    except BaseException:
        os.dup2(ERRORS, 2)
        warm.take_streams()
        raise
    return 0


def _work(batch: Batch, folder: Path, end: int) -> None:
    warm.fenced()
    reader = _Reader(batch.format, folder)
    for index in batch.indices:
        rng = _generator(batch, index)
        way, make = _way(batch.format, index, rng)
        reading = _reading(batch.format, index, rng)
        begun = {
            "index": index,
            "way": way,
            "reading": " ".join(reading) if isinstance(reading, tuple) else _name(reading),
        }
        _tell(end, begun)
        _tell(end, begun | reader.read(reading, make))


def _generator(batch: Batch, index: int) -> np.random.Generator:
    return np.random.default_rng([batch.seed, zlib.crc32(batch.format.name.encode()), index])


def laid(batch: Batch, index: int, folder: Path) -> None:
    """The files of one input in `folder`, as they were read."""
    rng = _generator(batch, index)
    _, damage = _way(batch.format, index, rng)
    _reading(batch.format, index, rng)
    for name, data in batch.format.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / batch.format.file).unlink()
    damage(folder / batch.format.file)


def _tell(end: int, told: dict[str, Any]) -> None:
    os.write(end, json.dumps(told).encode() + b"\n")


def _name(reading: Any) -> str:
    return f"{reading.func.__name__.strip('_')}()"


def _way(form: Format, index: int, rng: np.random.Generator) -> tuple[str, Callable[[Path], None]]:
    """The name of the damage, and what puts it at a path."""
    if index < len(PLACES):
        place = PLACES[index] if PLACES[index] in form.places else "missing"
        return place, lambda path: _placed(place, path)
    mutate = blind.pick(form.ways, rng)
    return mutate.__name__, lambda path: _write(path, mutate, form.files[form.file], rng)


def _write(path: Path, mutate: blind.Mutator, sound: bytes, rng: np.random.Generator) -> None:
    """The damaged bytes; flipped bits where what was drawn cannot be written."""
    try:
        data = mutate(sound, rng)
    except Exception:
        data = blind.flip(sound, rng)
    path.write_bytes(data)


def _placed(what: str, path: Path) -> None:
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "dangling":
        path.symlink_to("nothing-there")
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "zeros":
        path.symlink_to("/dev/zero")
    elif what == "socket":
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path)[-100:] if len(str(path)) > 100 else str(path))


def _reading(form: Format, index: int, rng: np.random.Generator) -> Reading:
    """One of the format's; a command where the file itself is another thing, since commands look at that."""
    commands = [reading for _, reading in form.readings if isinstance(reading, tuple)]
    if index < len(PLACES) and commands:
        return commands[0]
    weights = np.array([weight for weight, _ in form.readings], float)
    return form.readings[int(rng.choice(len(weights), p=weights / weights.sum()))][1]


class _Reader:
    """Runs readings in this process, its streams on memory files."""

    def __init__(self, form: Format, folder: Path) -> None:
        self.form, self.folder = form, folder
        self._sound: dict[str, tuple[int, bytes, Files]] = {}
        self._streams = [os.memfd_create(name) for name in ("out", "err")]
        for number, stream in enumerate(self._streams, start=1):
            os.dup2(stream, number)

    def read(self, reading: Reading, damage: Callable[[Path], None]) -> dict[str, Any]:
        """What happened, as plain values."""
        sound = self._of_sound(reading) if self.form.seal else None
        self._restored()
        path = self.folder / self.form.file
        path.unlink()
        damage(path)
        before = _resident(reset=True)
        begun = time.process_time()
        code, out, err = self._ran(reading, path)
        told = {
            "seconds": time.process_time() - begun, "code": code, "peak": _resident(peak=True) - before,
            "escapes": has_escapes(err) or (_is_info(reading) and has_escapes(out)),
        } | shortened(err)  # fmt: skip
        if sound is not None and code == 0:
            told["alike"] = (out.encode(), self._products()) == sound[1:]
        return told

    def _of_sound(self, reading: Reading) -> tuple[int, bytes, Files]:
        """The same reading of the file as it was. Raises RuntimeError where that fails: then the harness is wrong."""
        key = repr(reading)
        if key not in self._sound:
            self._restored()
            code, out, err = self._ran(reading, self.folder / self.form.file)
            if code:
                raise RuntimeError(f"{self.form.name}, undamaged: {key}: {code}: {err}")
            self._sound[key] = code, out.encode(), self._products()
        return self._sound[key]

    def _products(self) -> Files:
        found = cases.files(self.folder)
        return {name: data for name, data in found.items() if name not in self.form.files and not name.endswith(".tmp")}

    def _restored(self) -> None:
        """The sound files and nothing else."""
        for item in self.folder.iterdir():
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()
        for name, data in self.form.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def _ran(self, reading: Reading, path: Path) -> tuple[int, str, str]:
        for stream in self._streams:
            os.ftruncate(stream, 0)
            os.lseek(stream, 0, os.SEEK_SET)
        nothing = os.open(path if self.form.stdin and path.is_file() else os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        warm.take_streams()
        code = warm.command(reading) if isinstance(reading, tuple) else _direct(reading)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        out, err = (os.pread(stream, 1 << 24, 0).decode("utf-8", "replace") for stream in self._streams)
        return code, out, err


def _direct(reading: Callable[[], object]) -> int:
    """Call a function as the command line would: its errors are one line and an exit code."""
    from vhs.console import Console
    from vhs.errors import VhsError

    console = Console("vhs")
    try:
        reading()
    except VhsError as error:
        console.error(str(error))
        return error.exit_code
    except (OSError, MemoryError) as error:
        console.error(str(error) or "out of memory")
        return 1
    except Exception as error:
        console.error(f"a defect of vhs: {type(error).__name__}: {error}")
        return 1
    return 0


def _is_info(reading: Reading) -> bool:
    return isinstance(reading, tuple) and reading[0] == "info"


def shortened(err: str) -> dict[str, Any]:
    """What verdicts need of a stderr, which may be long."""
    lines = err.split("\n")[:-1]
    panic = "Traceback" in err or "panicked" in err
    return {
        "err": err[:400],
        "last": lines[-1][:200] if lines else "",
        "lines": len(lines),
        "length": len(err),
        "panic": panic,
    }


def has_escapes(text: str) -> bool:
    """Whether a terminal would obey something in it."""
    return any(unicodedata.category(char) == "Cc" and char not in "\n\t" for char in text)


def _resident(*, peak: bool = False, reset: bool = False) -> int:
    """Bytes of memory in use, or their peak since it was last reset."""
    if reset:
        with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    return warm.status("VmHWM" if peak else "VmRSS")
