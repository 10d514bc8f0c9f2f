"""Bytes from behind a URL, whatever the network does: ranges, asked again with growing pauses, joined where they broke.

fsspec opens the URLs; what it gives is believed only as far as its length goes, and content is told by hashes.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from functools import lru_cache
from pathlib import Path
from typing import Any

from vhs.errors import UnreadableError, UsageError, VhsError
from vhs.formats.places import EXTRAS, Remote, redacted

BLOCK = 8 << 20
"""Bytes asked for at once: what a broken connection costs at most."""
AHEAD = 4
"""Blocks under way at once."""
TRIES, ASKED = 8, 3
"""How often a range is asked for without progress; and a size, which a failing server may tell wrongly."""
PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the second try, doubled before each further one, up to the longest."""
SILENCE = 30.0
"""Seconds without a byte after which a connection is given up."""
FOLDERS = 100
"""Folders of a folder that are looked into."""
LOST = (404, 410, 401, 403)
"""Answers of a server that asking again does not change."""
HOPELESS = (
    "NoCredentialsError", "RepositoryNotFoundError", "InvalidURL", "InvalidUrlClientError", "NonHttpUrlClientError",
    "ParamValidationError", "NoSuchBucket", "InvalidBucketName", "AccessDenied", "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
)  # fmt: skip
"""Kinds of errors, or codes of an object store, that are as lasting."""


def read(place: Remote, most: int) -> bytes:
    """All of a file of at most `most` bytes. Raises UnreadableError naming the URL without its credentials."""
    told: list[int] = []
    while len(set(told)) == len(told):  # until two answers agree: nothing else says how long such a file is
        told.append(size_of(place))
    if told[-1] > most:
        raise UnreadableError(f"{place}: has {told[-1]:,} bytes; at most {most:,} were expected.")
    return b"".join(blocks(place, 0, told[-1]))


def read_if_there(place: Remote, most: int) -> bytes | None:
    """The same; None where there is no such file."""
    try:
        return read(place, most)
    except Lost:
        return None


def exists(place: Remote) -> bool:
    """Whether there is such a file. Raises UnreadableError where nobody could say."""
    try:
        return size_of(place) >= 0
    except Lost:
        return False


def size_of(place: Remote) -> int:
    """Bytes of a file. Raises UnreadableError, Lost where it is not there."""
    return int(stated(place)["size"])


def stated(place: Remote) -> dict[str, Any]:
    """What the server says of a file: its size, and what changes with its content (`ETag` or the like)."""

    def ask() -> dict[str, Any]:
        told = _system(place.protocol).info(place.url)
        if told.get("type") != "file" or told.get("size") is None:
            raise Missing(f"{place}: is no file whose size is told.")
        return dict(told)

    return _insist(place, ask)


def folders(place: Remote) -> list[Remote]:
    """The folders in a folder, by name, at most FOLDERS; none where the server lists none."""
    try:
        listed = _system(place.protocol).ls(place.url, detail=True)
    except Exception:  # what a server says that lists nothing
        return []
    base = place.url.split("://", 1)[1].rstrip("/") + "/"
    names = set()
    for item in listed:
        path = str(item["name"]).split("://")[-1]
        if path.startswith(base) and (item.get("type") == "directory" or path.endswith("/")):
            names.add(path.removeprefix(base).rstrip("/"))
    return [place / name for name in sorted(names) if name and "/" not in name and "?" not in name][:FOLDERS]


def blocks(place: Remote, start: int, size: int) -> Iterator[bytes]:
    """The bytes of a file of `size` bytes from `start` on, in order; each block is asked for until it is whole."""
    for begin, end, data in _in_turn(place, [(start, size)], size):
        if len(data) > end - begin:  # a server that knows no ranges sent everything
            yield data[begin:]
            return
        yield data


def some(place: Remote, ranges: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, bytes]]:
    """Ranges (begin, end) of a file of `size` bytes, in blocks: where each begins, and its bytes.

    Raises NoRanges where the server sends everything instead.
    """
    for begin, end, data in _in_turn(place, ranges, size):
        if len(data) > end - begin:
            raise NoRanges(f"{place}: its server sends no part of it.")
        yield begin, data


def _in_turn(place: Remote, ranges: Iterable[tuple[int, int]], size: int) -> Iterator[tuple[int, int, bytes]]:
    """The blocks of ranges: begin, end, and what came. The first is asked for alone: it may come as the whole file."""
    wanted = [(at, min(at + BLOCK, end)) for begin, end in ranges for at in range(begin, end, BLOCK)]
    for first in (0, *range(1, len(wanted), AHEAD)):
        for (begin, end), data in _ranges(place, wanted[first : first + (AHEAD if first else 1)], size).items():
            yield begin, end, data


def fetch(place: Remote, size: int, target: Path) -> None:
    """Append to `target` what it lacks of a file of `size` bytes; what a broken run left there is kept.

    Raises UnreadableError at once for a file of another size.
    """
    told = [size_of(place)]
    while told[-1] != size:
        if len(told) == ASKED:
            raise UnreadableError(f"{place}: has {told[-1]:,} bytes, {size:,} were expected. Copy the set there again.")
        told.append(size_of(place))
    with target.open("ab") as file:
        have = file.tell()
        if have > size:
            file.truncate(have := 0)
        for block in blocks(place, have, size):
            file.write(block)


class NoRanges(UnreadableError):
    """A server sends files as a whole only."""


class Lost(UnreadableError):
    """What is asked for is not there, or not for us: asking again does not help."""


class Missing(Lost):
    """What is asked for is not there."""


def _ranges(place: Remote, parts: list[tuple[int, int]], size: int) -> dict[tuple[int, int], bytes]:
    """Ranges (begin, end) of a file, together; broken ones are asked for again. Each may come as the whole file."""
    found: dict[tuple[int, int], bytes] = {}

    def ask() -> None:
        missing = [part for part in parts if part not in found]
        begins, ends = ([part[side] for part in missing] for side in (0, 1))
        came = _system(place.protocol).cat_ranges([place.url] * len(missing), begins, ends, on_error="return")
        errors = []
        for (begin, end), data in zip(missing, came, strict=True):
            if isinstance(data, BaseException):
                errors.append(data)
            elif len(data) in (end - begin, size):
                found[begin, end] = bytes(data)
            else:
                errors.append(ConnectionError(f"{len(data)} bytes came of {end - begin}"))
        if errors:
            raise next((error for error in errors if _is_lost(error)), errors[0])

    _insist(place, ask, found)
    return {part: found[part] for part in parts}


def _insist(place: Remote, ask: Callable[[], Any], found: Sized = ()) -> Any:
    """What `ask` gives, tried again while the network or the server is at fault. found: what has come so far; while
    it grows, tries are counted anew."""
    pause, attempt, had = PAUSE, 0, 0
    while True:
        if len(found) > had:
            pause, attempt, had = PAUSE, 0, len(found)
        attempt += 1
        try:
            return ask()
        except VhsError:
            raise
        except Exception as error:  # every protocol has kinds of its own
            if "shutdown" in str(error):  # of this process, which ends
                raise
            if _is_lost(error):
                kind = Lost if _answer(error) in (401, 403) else Missing
                raise kind(f"{place}: cannot be read: {_reason(error)}.") from error
            if attempt >= TRIES and len(found) == had:
                raise UnreadableError(
                    f"{place}: cannot be read: {_reason(error)}; given up after {TRIES} tries. Try again later."
                ) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        return _is_lost(error.__cause__)  # fsspec's word for whatever kept it from asking a web server
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotImplementedError):
        return True
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return _answer(error) in LOST or type(error).__name__ in HOPELESS or code in HOPELESS


def _answer(error: BaseException) -> Any:
    """The status that a server answered with, if that is what went wrong."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        return _answer(error.__cause__)
    if isinstance(error, PermissionError):
        return 403
    return getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)


def _reason(error: BaseException) -> str:
    """In a few words, without credentials."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    if isinstance(error, FileNotFoundError):
        return "it is not there"
    status, message = getattr(error, "status", None), getattr(error, "message", "")
    if isinstance(status, int) and isinstance(message, str):
        return f"the server answers {status} {redacted(message)[:80]}".rstrip()
    words = redacted(" ".join(str(error).split()))[:160].rstrip(".")
    return f"{type(error).__name__}{f': {words}' if words else ''}"


@lru_cache(maxsize=8)
def _open_system(protocol: str, process: int) -> Any:
    """The file system of a protocol, one for each process: connections do not survive a fork."""
    import fsspec

    del process
    try:
        return fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False, **_options(protocol))
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        how = f"pip install 'vhs-heads[{extra}]'" if extra else "pip install huggingface_hub"
        raise UsageError(f"{protocol}://…: needs a package that is not here. Install it: {how}.") from error


def _system(protocol: str) -> Any:
    return _open_system(protocol, os.getpid())


def _options(protocol: str) -> dict[str, Any]:
    """Patience, in the words of each protocol."""
    if protocol in ("http", "https"):
        timeout = importlib.import_module("aiohttp").ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
        plain = {"Accept-Encoding": "identity"}  # a range of what is compressed is no range
        return {"client_kwargs": {"timeout": timeout, "trust_env": True, "headers": plain}}
    if protocol == "s3":
        return {"config_kwargs": {"connect_timeout": SILENCE, "read_timeout": SILENCE, "retries": {"max_attempts": 1}}}
    return {}
