"""Tars of sets elsewhere, kept here as long as there is room: a folder of files called by their sha256.

`$VHS_CACHE` names the folder, `$VHS_CACHE_GB` how much it may hold. A tar has its name only once its content is what
the manifest says; until then it is `NAME.part`, which the next run continues and a run that fetches it has locked.
What was used longest ago goes first. A tar that goes while a process still reads it stays readable for that process.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vhs.errors import UnreadableError, UsageError, VhsError
from vhs.formats import locks, transfers
from vhs.formats.atomic import sha256, sha256_file, write_whole
from vhs.formats.manifest_checks import SHA256
from vhs.formats.places import Remote

FOLDER, LIMIT = "VHS_CACHE", "VHS_CACHE_GB"
GIGABYTES = 50.0
GIGABYTE = 10**9
PART = ".part"
OURS = re.compile(rf"{SHA256.pattern}\.tar({re.escape(PART)})?")
VERSIONS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "oid")
"""Under what names file systems tell what changes with a file's content."""


@dataclass(frozen=True)
class TarCache:
    """limit: bytes of all tars together."""

    folder: Path
    limit: int

    def unhashed(self, place: Remote) -> Path:
        """A file of which no hash is known yet, fetched if it is not here: told by its URL, size and version."""
        told = _version(place)
        name = sha256(f"{place.url}\n{told}".encode())

        def fetch(part: Path) -> None:
            for again in (False, True):
                transfers.fetch(place, told[0], part)
                if _version(place) == told:
                    return
                os.truncate(part, 0)
                if again:
                    raise UnreadableError(f"{place}: changes while it is read. Try again when it is whole.")

        return self._path(name, None, told[0], fetch, place)

    def path(
        self, digest: str, size: int, fetch: Callable[[Path], None], what: object, *, known: bool = False
    ) -> Path:  # fmt: skip
        """The tar with this hash and size, fetched if it is not here, or no longer sound.

        fetch: appends to a file what it lacks; what: names the tar; known: whether one that is here has been compared
        with its hash before. Raises UnreadableError where what comes has another hash, twice.
        """
        assert SHA256.fullmatch(digest)
        path = self.folder / f"{digest}.tar"
        if not known and _is_there(path, size) and not _is_sound(path, digest):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UnreadableError(
                    f"{path}: is damaged and cannot be removed: {error.strerror}. Remove it, or name another folder in "
                    f"${FOLDER}."
                ) from error
        return self._path(digest, digest, size, fetch, what)

    def _path(self, name: str, digest: str | None, size: int, fetch: Callable[[Path], None], what: object) -> Path:
        path = self.folder / f"{name}.tar"
        if _is_there(path, size):
            with suppress(OSError):
                os.utime(path)
            return path
        if size > self.limit:
            raise UnreadableError(
                f"{what}: has {size / GIGABYTE:.1f} GB, the cache {self.folder} may hold {self.limit / GIGABYTE:g}. "
                f"Allow more in ${LIMIT}."
            )
        try:
            with _locked(path.with_name(path.name + PART)) as part:
                if not _is_there(path, size):  # else another process fetched it while this one waited
                    self._make_room(size, keep=part)
                    _fetch(part, digest, size, fetch, what)
                    os.replace(part, path)
        except OSError as error:
            raise VhsError(
                f"{self.folder}: {what} cannot be kept there: {error.strerror or error}. Name another folder in "
                f"${FOLDER}."
            ) from error
        return path

    def adopt(self, path: Path, digest: str) -> None:
        """Keep an `unhashed` file under its hash, too, once that is known."""
        kept = self.folder / f"{digest}.tar"
        with suppress(FileExistsError):
            try:
                os.link(path, kept)
            except FileExistsError:
                raise
            except OSError:  # a file system without links
                write_whole(kept, path.read_bytes())

    def _make_room(self, size: int, keep: Path) -> None:
        """Remove what was used longest ago until `size` more bytes fit; what others are fetching counts and stays."""
        found: dict[int, list[tuple[int, int, Path]]] = {}
        for path in self.folder.glob("*.tar*"):
            if OURS.fullmatch(path.name) and path != keep:  # the folder may hold a user's own files
                with suppress(OSError):
                    status = path.stat()
                    found.setdefault(status.st_ino, []).append((status.st_mtime_ns, status.st_size, path))
        held = sum(names[0][1] for names in found.values())  # a file with two names is one
        for names in sorted(found.values()):
            if held + size <= self.limit:
                return
            if all(_remove(path) for _, _, path in names):
                held -= names[0][1]


def default() -> TarCache:
    """The cache that the environment names. Raises UsageError for a limit that is no number."""
    text = os.environ.get(LIMIT, "")
    try:
        limit = float(text) if text else GIGABYTES
    except ValueError:
        limit = math.nan
    if not 0 < limit < 1e6:
        raise UsageError(f"${LIMIT} is {text!r}; expected gigabytes, such as 50.")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return TarCache(Path(os.environ.get(FOLDER) or home / "vhs"), int(limit * GIGABYTE))


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _fetch(part: Path, digest: str | None, size: int, fetch: Callable[[Path], None], what: object) -> None:
    """Raises UnreadableError where the content is another one, also when fetched from its start."""
    for again in (False, True):
        fetch(part)
        if digest is None:
            return
        found = sha256_file(part)
        if found == digest and part.stat().st_size == size:
            return
        os.truncate(part, 0)  # what an earlier run left may have been of another file
        if again:
            raise UnreadableError(
                f"{what}: its content is not what the manifest says (sha256 {found[:12]}…, expected {digest[:12]}…). "
                f"Copy the set there again."
            )


@contextmanager
def _locked(part: Path) -> Iterator[Path]:
    """Hold `part`, made if it is not there. With `flock` threads wait for each other, too."""
    part.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks: two runs fetch the same, and the hash tells
            fcntl.flock(handle, fcntl.LOCK_EX)
        if locks.is_still(part, handle) or locks.is_still(part.with_name(part.name.removesuffix(PART)), handle):
            break
        os.close(handle)  # another made room of it between our opening and locking it
    try:
        yield part
    finally:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # closing alone would not, where a worker was forked meanwhile
        os.close(handle)


def _remove(path: Path) -> bool:
    """Remove a tar, or a part that no process is fetching; whether it is gone."""
    try:
        if not path.name.endswith(PART):
            path.unlink(missing_ok=True)
            return True
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return not path.exists()
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)  # while it is held
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def _is_sound(path: Path, digest: str) -> bool:
    try:
        return sha256_file(path) == digest
    except OSError:
        return False


def _version(place: Remote) -> tuple[int, str]:
    """A file's size, and what changes with its content."""
    told = transfers.stated(place)
    return int(told["size"]), next((str(told[key]) for key in VERSIONS if told.get(key)), "")
