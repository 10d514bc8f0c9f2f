"""The tars of a set, opened when they are needed: from the set's folder, or from elsewhere through the cache."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import NamedTuple

from vhs.errors import InputError, UnreadableError
from vhs.formats import tar_cache, transfers
from vhs.formats.manifest import TarEntry
from vhs.formats.places import Place, Remote
from vhs.formats.tar import Member, open_tar
from vhs.formats.tar_cache import TarCache

OPEN = 64
"""Tars mapped at once; what is forgotten is mapped again."""
ATTEMPTS = 3
"""Times a tar is fetched that others evict before it is opened."""


class Tar(NamedTuple):
    """One tar, and how its bytes are had."""

    where: str
    data: Callable[[], memoryview]

    def part(self, member: Member) -> memoryview:
        """The bytes of a member."""
        return self.data()[member.offset : member.offset + member.size]


class LocalTars:
    """In a folder of this machine; mapped once, for the life of the set. where: what messages call a tar; path: the
    file it lies in here; data: its bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mapped: dict[str, memoryview] = {}

    def where(self, entry: TarEntry) -> str:
        return str(self.path(entry))

    def path(self, entry: TarEntry) -> Path:
        return self._folder / entry.name

    def data(self, entry: TarEntry) -> memoryview:
        """Raises UnreadableError for a file that cannot be read or has another size."""
        if entry.name not in self._mapped:
            self._mapped[entry.name] = _mapped(self.path(entry), entry)
        return self._mapped[entry.name]


class CachedTars:
    """From elsewhere, in the cache; what is there already is compared with its hash once by every process.

    entries: all of the set, in the order in which they are read, unless `in_order` is set to False.
    """

    def __init__(self, place: Remote, entries: Iterable[TarEntry], cache: TarCache | None = None) -> None:
        self._place, self._cache = place, cache or tar_cache.default()
        self._next = dict(zip(names := [entry.name for entry in entries], names[1:], strict=False))
        self._entries = {entry.name: entry for entry in entries}
        self._mapped: OrderedDict[str, memoryview] = OrderedDict()
        self._process = os.getpid()
        self._sound: set[str] = set()
        self._lock = Lock()
        self.in_order = True

    @property
    def limit(self) -> int:
        """Bytes that the cache may hold."""
        return self._cache.limit

    def where(self, entry: TarEntry) -> str:
        return str(self._place / entry.name)

    def path(self, entry: TarEntry) -> Path:
        """Raises UnreadableError where it cannot be fetched."""
        there, known = self._place / entry.name, entry.name in self._sound
        fetch = partial(transfers.fetch, there, entry.bytes)
        path = self._cache.path(entry.sha256, entry.bytes, fetch, there, known=known)
        self._sound.add(entry.name)
        return path

    def data(self, entry: TarEntry) -> memoryview:
        """Raises UnreadableError where it cannot be fetched. Begins to fetch the tar after it."""
        with self._lock:
            found = self._mapped.get(entry.name)
            if found is not None:
                self._mapped.move_to_end(entry.name)
                return found
        found = self._open(entry)
        with self._lock:
            self._mapped[entry.name] = found
            while len(self._mapped) > OPEN:
                self._mapped.popitem(last=False)
        if self.in_order and entry.name in self._next:
            self.fetch([self._entries[self._next[entry.name]]])
        return found

    def fetch(self, entries: Iterable[TarEntry]) -> None:
        """Begin to fetch tars beside what else is done; what fails is told when the tar is asked for."""
        if os.getpid() == self._process:  # workers take what is there, or fetch what they lack
            Thread(target=self._fetch, args=(tuple(entries),), daemon=True).start()

    def _fetch(self, entries: tuple[TarEntry, ...]) -> None:
        with suppress(Exception):
            for entry in entries:
                self.path(entry)

    def _open(self, entry: TarEntry) -> memoryview:
        for _ in range(ATTEMPTS):
            path = self.path(entry)
            with suppress(UnreadableError):  # evicted before it was opened
                return _mapped(path, entry)
        raise UnreadableError(f"{path}: goes as soon as it is fetched. Allow the cache more in ${tar_cache.LIMIT}.")


def of(place: Place, entries: Iterable[TarEntry]) -> LocalTars | CachedTars:
    """The tars that lie in a folder or behind a URL."""
    return CachedTars(place, tuple(entries)) if isinstance(place, Remote) else LocalTars(place)


def _mapped(path: Path, entry: TarEntry) -> memoryview:
    try:
        data = open_tar(path)
    except InputError as error:
        raise UnreadableError(str(error)) from error
    if len(data) != entry.bytes:
        raise UnreadableError(f"{path}: {len(data)} bytes, shards.json says {entry.bytes}; truncated? Shard it again.")
    return memoryview(data)
