"""Tars of sets elsewhere, kept here as long as there is room: a folder of files called by their sha256.

`$VHS_CACHE` names the folder, `$VHS_CACHE_GB` how much it may hold. A tar has its name only once its content is what
the manifest says; until then it is `NAME.part`, which the next run continues and a run that fetches it has locked.
Of few samples an excerpt is kept instead, a file with holes. What was used longest ago goes first. What goes while a
process still reads it stays readable for that process.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vhs.errors import InputError, UnreadableError, UsageError, VhsError
from vhs.formats import locks, transfers
from vhs.formats.atomic import sha256, sha256_file, write_whole
from vhs.formats.excerpts import Excerpt
from vhs.formats.manifest_checks import SHA256
from vhs.formats.places import Remote
from vhs.formats.tar import open_tar

FOLDER, LIMIT = "VHS_CACHE", "VHS_CACHE_GB"
GIGABYTES = 50.0
GIGABYTE = 10**9
PART = ".part"
OURS = re.compile(rf"{SHA256.pattern}\.tar({re.escape(PART)})?")
VERSIONS = (
    "ETag", "etag", "Content-MD5", "Digest", "Last-Modified", "LastModified", "last_modified", "mtime", "oid",
)  # fmt: skip
"""Under what names file systems tell what changes with a file's content."""
FETCHED: set[str] = set()
"""Names of files that this process fetched of servers that tell no such thing."""


@dataclass(frozen=True)
class _Content:
    """A file that the cache is asked for. name: a sha256; size: bytes; room: those it takes on disk; fetch: appends to
    a file what it lacks; wrong: says what is wrong with one that came; what: names it in messages."""

    name: str
    size: int
    room: int
    fetch: Callable[[Path], None]
    wrong: Callable[[Path], str]
    what: object

    def is_at(self, path: Path) -> bool:
        """Whether the file is there, as far as its size tells."""
        return _is_there(path, self.size)


@dataclass(frozen=True)
class TarCache:
    """limit: bytes of all tars together."""

    folder: Path
    limit: int

    def holds(self, digest: str, size: int) -> bool:
        """Whether a tar with this hash and size is here."""
        return _is_there(self.folder / f"{digest}.tar", size)

    def unhashed(self, place: Remote) -> Path:
        """A file of which no hash is known yet, fetched if it is not here: told by its URL, size and version.

        Where the server tells no version every process fetches it anew: of the same size it may be another one.
        """
        told = _version(place)
        name = sha256(f"{place.url}\n{told}".encode())
        if not told[1] and name not in FETCHED:
            for path in (self.folder / f"{name}.tar", self.folder / f"{name}.tar{PART}"):
                _remove(path)
            FETCHED.add(name)

        def fetch(part: Path) -> None:
            for again in (False, True):
                transfers.fetch(place, told[0], part)
                if _version(place) == told:
                    return
                os.truncate(part, 0)
                if again:
                    raise UnreadableError(f"{place}: changes while it is read. Try again when it is whole.")

        return self._kept(_Content(name, told[0], told[0], fetch, _believed, place))

    def path(self, digest: str, size: int, place: Remote, *, known: bool = False) -> Path:
        """The tar with this hash and size, fetched if it is not here, or no longer sound.

        known: whether one that is here has been compared with its hash before. Raises Differs where what comes has
        another hash, twice.
        """
        assert SHA256.fullmatch(digest)
        fetch = partial(transfers.fetch, place, size)
        return self._sound(_Content(digest, size, size, fetch, partial(_by_hash, digest, size), place), known)

    def excerpt(self, excerpt: Excerpt, size: int, place: Remote, *, known: bool = False) -> Path:
        """What an excerpt wants of the tar at `place`, of `size` bytes; the rest is holes.

        Raises Differs where what comes is not sound, twice; NoRanges where the server sends whole files.
        """

        def fetch(part: Path) -> None:
            with part.open("r+b") as file:
                file.truncate(0)  # nothing tells what a broken run left in it
                file.truncate(size)
                for begin, data in transfers.some(place, excerpt.ranges, size):
                    file.seek(begin)
                    file.write(data)

        wrong = partial(_by_samples, excerpt)
        return self._sound(_Content(excerpt.name, size, excerpt.bytes, fetch, wrong, place), known)

    def _sound(self, content: _Content, known: bool) -> Path:
        """The file of the cache; one that is here is looked at, unless it is known."""
        path = self.folder / f"{content.name}.tar"
        if not known and content.is_at(path) and content.wrong(path):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UnreadableError(
                    f"{path}: is damaged and cannot be removed: {error.strerror}. Remove it, or name another folder in "
                    f"${FOLDER}."
                ) from error
        return self._kept(content)

    def _kept(self, content: _Content) -> Path:
        path = self.folder / f"{content.name}.tar"
        if content.is_at(path):
            with suppress(OSError):
                os.utime(path)
            return path
        if content.room > self.limit:
            raise UnreadableError(
                f"{content.what}: has {content.room / GIGABYTE:.3g} GB, the cache {self.folder} may hold "
                f"{self.limit / GIGABYTE:g}. Allow more in ${LIMIT}."
            )
        try:
            part = path.with_name(path.name + PART)
            with _locked(part) as is_own:
                if not content.is_at(path):
                    self._make_room(content.room, keep=part)
                    try:
                        _fetch(part, content)
                    except (Differs, transfers.NoRanges):  # nothing to go on with
                        part.unlink(missing_ok=True)
                        raise
                    os.replace(part, path)
                elif is_own:  # another process fetched it before this one began one of its own
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise VhsError(
                f"{self.folder}: {content.what} cannot be kept there: {error.strerror or error}. Name another folder "
                f"in ${FOLDER}."
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
                    taken = min(status.st_size, status.st_blocks * 512)  # an excerpt has holes
                    found.setdefault(status.st_ino, []).append((status.st_mtime_ns, taken, path))
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


class Differs(UnreadableError):
    """What comes is not what was to come."""


def _fetch(part: Path, content: _Content) -> None:
    """Raises Differs where the content is another one, also when fetched from its start."""
    for again in (False, True):
        content.fetch(part)
        reason = content.wrong(part)
        if not reason:
            return
        os.truncate(part, 0)  # what an earlier run left may have been of another file
        if again:
            raise Differs(
                f"{content.what}: its content is not what the manifest says ({reason}). Copy the set there again."
            )


def _believed(_: Path) -> str:
    """Of a file whose hash nobody knows."""
    return ""


def _by_hash(digest: str, size: int, path: Path) -> str:
    """What is wrong with a tar that should have this hash and size; nothing, if it has."""
    try:
        found = sha256_file(path)
    except OSError as error:
        return str(error.strerror)
    fine = found == digest and path.stat().st_size == size
    return "" if fine else f"sha256 {found[:12]}…, expected {digest[:12]}…"


def _by_samples(excerpt: Excerpt, path: Path) -> str:
    """What is wrong with a file that should hold what an excerpt wants."""
    try:
        return "" if excerpt.is_sound(memoryview(open_tar(path))) else "digests of its samples"
    except InputError as error:
        return str(error)


@contextmanager
def _locked(part: Path) -> Iterator[bool]:
    """Hold `part`, made if it is not there; False where it has got its name meanwhile. With `flock` threads wait for
    each other, too."""
    part.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks: two runs fetch the same, and the hash tells
            fcntl.flock(handle, fcntl.LOCK_EX)
        if locks.is_still(part, handle) or locks.is_still(part.with_name(part.name.removesuffix(PART)), handle):
            break
        os.close(handle)  # another made room of it between our opening and locking it
    try:
        yield locks.is_still(part, handle)
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


def _version(place: Remote) -> tuple[int, str]:
    """A file's size, and what changes with its content."""
    told = transfers.stated(place)
    return int(told["size"]), next((str(told[key]) for key in VERSIONS if told.get(key)), "")
