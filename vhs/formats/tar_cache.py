"""Tars of sets elsewhere, kept here as long as there is room: a folder of files called by their sha256.

`$VHS_CACHE` names the folder, `$VHS_CACHE_GB` how much it may hold. A tar has its name only once its content is what
the manifest says; until then it is `NAME.part`, which the next run continues and a run that fetches it has locked.
What was used longest ago goes first. A tar that goes while a process still reads it stays readable for that process.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vhs.errors import InputError, UsageError, VhsError
from vhs.formats import transfers
from vhs.formats.atomic import sha256, sha256_file
from vhs.formats.places import Remote

FOLDER, LIMIT = "VHS_CACHE", "VHS_CACHE_GB"
GIGABYTES = 50.0
GIGABYTE = 10**9
PART = ".part"
VERSIONS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "oid")
"""Under what names file systems tell what changes with a file's content."""


@dataclass(frozen=True)
class TarCache:
    """limit: bytes of all tars together."""

    folder: Path
    limit: int

    def unhashed(self, place: Remote) -> Path:
        """A file of which no hash is known yet, fetched if it is not here: told by its URL, size and version."""
        told = transfers.stated(place)
        version = next((str(told[key]) for key in VERSIONS if told.get(key)), "")
        name = sha256(f"{place}\n{told['size']}\n{version}".encode())
        return self._path(name, None, int(told["size"]), partial(transfers.fetch, place, int(told["size"])), place)

    def path(
        self, digest: str, size: int, fetch: Callable[[Path], None], what: object, *, known: bool = False
    ) -> Path:  # fmt: skip
        """The tar with this hash and size, fetched if it is not here, or no longer sound.

        fetch: appends to a file what it lacks; what: names the tar; known: whether one that is here has been compared
        with its hash before. Raises InputError where what comes has another hash, twice.
        """
        path = self.folder / f"{digest}.tar"
        if not known and _is_there(path, size):
            with suppress(OSError):
                if sha256_file(path) != digest:
                    path.unlink()
        return self._path(digest, digest, size, fetch, what)

    def _path(self, name: str, digest: str | None, size: int, fetch: Callable[[Path], None], what: object) -> Path:
        path = self.folder / f"{name}.tar"
        if _is_there(path, size):
            with suppress(OSError):
                os.utime(path)
            return path
        if size > self.limit:
            raise InputError(
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

    def _make_room(self, size: int, keep: Path) -> None:
        """Remove what was used longest ago until `size` more bytes fit; what others are fetching counts and stays."""
        found = []
        for path in self.folder.glob("*.tar*"):
            with suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        held = sum(bytes_ for _, bytes_, path in found if path != keep)
        for _, bytes_, path in sorted(found):
            if held + size <= self.limit:
                return
            if path != keep and not _is_fetched(path):
                path.unlink(missing_ok=True)
                held -= bytes_


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
    """Raises InputError where the content is another one, also when fetched from its start."""
    for again in (False, True):
        fetch(part)
        if digest is None:
            return
        found = sha256_file(part)
        if found == digest and part.stat().st_size == size:
            return
        os.truncate(part, 0)  # what an earlier run left may have been of another file
        if again:
            raise InputError(
                f"{what}: its content is not what the manifest says (sha256 {found[:12]}…, expected {digest[:12]}…). "
                f"Copy the set there again."
            )


@contextmanager
def _locked(part: Path) -> Iterator[Path]:
    """Hold `part`, made if it is not there. With `flock` threads wait for each other, too."""
    part.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with suppress(OSError):  # a file system without locks: two runs fetch the same, and the hash tells
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield part
    finally:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # closing alone would not, where a worker was forked meanwhile
        os.close(handle)


def _is_fetched(path: Path) -> bool:
    """Whether a process is fetching this part."""
    if not path.name.endswith(PART):
        return False
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
