"""File-system events of this process: told before they happen, with their number, so that something can go wrong there.

What Python announces to audit hooks (opening, renaming, unlinking, folders, locks) and, since it announces no more,
writes and syncs, by taking the place of `open` and of three functions of `os`. A write is two events: before it, and
in its middle. Cannot be undone: for forked children.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Act = Callable[[int, str], None]
"""Called with the number of the event, from 1 on, and its name, such as `fsync .t.csv.*.tmp`."""

NAMES = {
    "os.rename": "rename", "os.remove": "unlink", "os.mkdir": "mkdir", "os.rmdir": "rmdir", "os.truncate": "truncate",
    "os.link": "link", "os.symlink": "symlink", "fcntl.lockf": "lock", "fcntl.flock": "flock",
}  # fmt: skip
FOLDER_ARGUMENT = {"os.rename": 2, "os.remove": 1, "os.mkdir": 2, "os.rmdir": 1, "os.link": 2}
"""Where the file descriptor of the folder stands among an event's arguments."""
CREATING = "create"
SPACE = (CREATING, "write", "middle", "fsync", "mkdir", "allocate", "truncate")
"""Kinds of events that a full disk lets fail."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def kind(name: str) -> str:
    return name.partition(" ")[0]


def plain(path: str) -> str:
    """A path without the random part of a temporary name."""
    return re.sub(r"\.\w{8}\.tmp$", ".*.tmp", path)


def watch(root: Path, act: Act) -> None:
    """From now on call `act` before each event on a file below `root`, and before each write to stdout."""
    watcher = _Watcher(root.resolve(), act)
    sys.addaudithook(watcher.hear)
    real = io.open

    def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
        return watcher.opened(real, file, mode, buffering, rest, named)

    builtins.open = io.open = opened  # type: ignore[assignment]
    for name, told in (("write", "write"), ("fsync", "fsync"), ("fdatasync", "fsync"), ("posix_fallocate", "allocate")):
        setattr(os, name, watcher.before(told, getattr(os, name)))


class _Watcher:
    def __init__(self, root: Path, act: Act) -> None:
        self.root, self.act, self.number = str(root), act, 0

    def tell(self, what: str, path: str | None) -> None:
        if path is not None:
            self.number += 1
            self.act(self.number, f"{what} {path}")

    def place(self, path: Any, folder: int = -1) -> str | None:
        """The path below the root, its random parts taken out; `stdout`; or None for what lies elsewhere."""
        if hasattr(path, "fileno"):
            path = path.fileno()
        if isinstance(path, int):
            if path in (1, 2):
                return "stdout" if path == 1 else None
            path = os.readlink(f"/proc/self/fd/{path}")
        text = os.fsdecode(path)
        base = os.readlink(f"/proc/self/fd/{folder}") if folder not in (-1, None) else os.getcwd()
        whole = os.path.normpath(os.path.join(base, text))
        inside = whole.startswith(self.root + "/") or whole == self.root
        return plain(whole[len(self.root) + 1 :]) or "." if inside else None

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & WRITING and not isinstance(path, int):
                place = self.place(path)
                self.tell("open" if place and os.path.lexists(path) else CREATING, place)
        elif event in NAMES:
            at = FOLDER_ARGUMENT.get(event)
            folder = arguments[at] if at is not None else -1
            target = arguments[1] if event == "os.rename" else arguments[0]
            self.tell(NAMES[event], self.place(target, folder))

    def before(self, what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def told(descriptor: Any, *rest: Any) -> Any:
            place = self.place(descriptor)
            self.tell(what, place)
            if what == "write" and place and len(rest[0]) > 1:
                return self.halved(place, rest[0], lambda part: real(descriptor, part))
            return real(descriptor, *rest)

        return told

    def halved(self, place: str, data: Any, write: Callable[[Any], int]) -> int:
        """Write the first half, tell, write the rest."""
        view = memoryview(data).cast("B")
        done = write(view[: len(view) // 2])
        self.tell("middle", place)
        return done + write(view[done:])

    def opened(
        self, real: Any, file: Any, mode: str, buffering: int, rest: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        """A file whose raw writes are told; any other as it would be."""
        place = None if isinstance(file, int) or not set(mode) & set("wxa+") else self.place(file)
        if place is None:
            return real(file, mode, buffering, *rest, **named)
        opener = named.get("opener")
        raw = _Raw(file, mode.replace("b", "").replace("t", ""), opener=opener)
        raw.watcher, raw.place = self, place
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, *rest, **{key: named[key] for key in ("encoding", "newline") if key in named})


class _Raw(io.FileIO):
    watcher: _Watcher
    place: str

    def write(self, data: Any) -> int:
        self.watcher.tell("write", self.place)
        whole = super().write
        return self.watcher.halved(self.place, data, whole) if len(data) > 1 else whole(data)

    def truncate(self, size: int | None = None) -> int:
        self.watcher.tell("truncate", self.place)
        return super().truncate(size)
