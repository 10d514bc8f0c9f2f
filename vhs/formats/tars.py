"""The tars of a set, opened when they are needed: from the set's folder, or from elsewhere through the cache."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import NamedTuple

from vhs.errors import InputError, UnreadableError
from vhs.formats import tar_cache, transfers
from vhs.formats.excerpts import Excerpt
from vhs.formats.manifest import TarEntry
from vhs.formats.places import Place, Remote
from vhs.formats.tar import Member, open_tar
from vhs.formats.tar_cache import TarCache

OPEN = 64
"""Tars mapped at once; what is forgotten is mapped again."""
ATTEMPTS = 3
"""Times a tar is fetched that others evict before it is opened."""
AT_ONCE = 8
"""Tars of which excerpts are fetched at the same time: each is little, and every request waits for its answer."""


class Tar(NamedTuple):
    """One tar of a set, and what opens it."""

    entry: TarEntry
    tars: LocalTars | CachedTars

    @property
    def where(self) -> str:
        """What messages call it."""
        return self.tars.where(self.entry)

    def data(self) -> memoryview:
        """All of its bytes."""
        return self.tars.data(self.entry)

    def part(self, member: Member) -> memoryview:
        """The bytes of a member."""
        return self.tars.part(self.entry, member)


class LocalTars:
    """In a folder of this machine; mapped once, for the life of the set. where: what messages call a tar; path: the
    file it lies in here; data: its bytes; part: those of a member."""

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

    def part(self, entry: TarEntry, member: Member) -> memoryview:
        return member.of(self.data(entry))


class CachedTars:
    """From elsewhere, in the cache; what is there already is compared with its hash once by every process.

    entries: all of the set, in the order in which they are read, unless `in_order` is set to False.
    """

    def __init__(self, place: Remote, entries: Iterable[TarEntry], cache: TarCache | None = None) -> None:
        self._place, self._cache = place, cache or tar_cache.default()
        self._next = dict(zip(names := [entry.name for entry in entries], names[1:], strict=False))
        self._entries = {entry.name: entry for entry in entries}
        self._excerpts: Mapping[str, Excerpt] = {}
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
        known = entry.sha256 in self._sound
        path = self._cache.path(entry.sha256, entry.bytes, self._place / entry.name, known=known)
        self._sound.add(entry.sha256)
        return path

    def data(self, entry: TarEntry) -> memoryview:
        """Raises UnreadableError where it cannot be fetched. Begins to fetch the tar after it."""
        found, new = self._held(entry.sha256, entry, partial(self.path, entry))
        following = self._next.get(entry.name)
        if new and self.in_order and following is not None and following not in self._excerpts:
            self.fetch([self._entries[following]])
        return found

    def part(self, entry: TarEntry, member: Member) -> memoryview:
        """The bytes of a member: of an excerpt that holds it, else of the tar."""
        excerpt = self._excerpts.get(entry.name)
        if excerpt is not None and excerpt.holds(member) and not self._cache.holds(entry.sha256, entry.bytes):
            try:
                return member.of(self._held(excerpt.name, entry, partial(self._excerpt_path, entry, excerpt))[0])
            except transfers.NoRanges:
                self._excerpts = {}
            except tar_cache.Differs:  # the hash of the whole tar decides
                self._excerpts = {name: kept for name, kept in self._excerpts.items() if name != entry.name}
        return member.of(self.data(entry))

    def expect(self, excerpts: Mapping[str, Excerpt]) -> None:
        """Say what alone is read next of some tars, by their names in the order in which they are read."""
        self._excerpts = excerpts
        found = [(self._entries[name], excerpt) for name, excerpt in excerpts.items()]
        wanted = [(entry, excerpt) for entry, excerpt in found if not self._cache.holds(entry.sha256, entry.bytes)]
        if wanted and 2 * sum(excerpt.bytes for _, excerpt in wanted) <= self.limit:  # else some would go unread
            calls = [partial(self._excerpt_path, *item) for item in wanted]
            self._beside([calls[0], partial(self._together, calls[1:])])  # the first tells whether ranges are sent

    def fetch(self, entries: Iterable[TarEntry]) -> None:
        """Begin to fetch tars beside what else is done; what fails is told when the tar is asked for."""
        self._beside(partial(self.path, entry) for entry in entries)

    def _beside(self, calls: Iterable[Callable[[], object]]) -> None:
        if os.getpid() == self._process:  # workers take what is there, or fetch what they lack
            Thread(target=_until_one_fails, args=(tuple(calls),), daemon=True).start()

    def _together(self, calls: Sequence[Callable[[], object]]) -> None:
        for first in range(AT_ONCE):
            self._beside(calls[first::AT_ONCE])

    def _excerpt_path(self, entry: TarEntry, excerpt: Excerpt) -> Path:
        path = self._cache.excerpt(excerpt, entry.bytes, self._place / entry.name, known=excerpt.name in self._sound)
        self._sound.add(excerpt.name)
        return path

    def _held(self, name: str, entry: TarEntry, path_of: Callable[[], Path]) -> tuple[memoryview, bool]:
        """The bytes of a file of the cache, and whether it was opened for that."""
        with self._lock:
            if name in self._mapped:
                self._mapped.move_to_end(name)
                return self._mapped[name], False
        found = _opened(entry, path_of)
        with self._lock:
            self._mapped[name] = found
            while len(self._mapped) > OPEN:
                self._mapped.popitem(last=False)
        return found, True


def of(place: Place, entries: Iterable[TarEntry]) -> LocalTars | CachedTars:
    """The tars that lie in a folder or behind a URL."""
    return CachedTars(place, tuple(entries)) if isinstance(place, Remote) else LocalTars(place)


def _until_one_fails(calls: Iterable[Callable[[], object]]) -> None:
    with suppress(Exception):
        for call in calls:
            call()


def _opened(entry: TarEntry, path_of: Callable[[], Path]) -> memoryview:
    for _ in range(ATTEMPTS):
        path = path_of()
        with suppress(UnreadableError):  # evicted before it was opened
            return _mapped(path, entry)
    raise UnreadableError(f"{path}: goes as soon as it is fetched. Allow the cache more in ${tar_cache.LIMIT}.")


def _mapped(path: Path, entry: TarEntry) -> memoryview:
    try:
        data = open_tar(path)
    except InputError as error:
        raise UnreadableError(str(error)) from error
    if len(data) != entry.bytes:
        raise UnreadableError(f"{path}: {len(data)} bytes, shards.json says {entry.bytes}; truncated? Shard it again.")
    return memoryview(data)
