"""Where a shard set lies: a folder of this machine, or a URL that fsspec opens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from vhs.errors import UsageError, choices

PROTOCOLS = ("https", "http", "s3", "gs", "hf")
EXTRAS = {"https": "http", "http": "http", "s3": "s3", "gs": "gs"}
"""The extra of vhs-heads that brings what opens URLs of a protocol; hf comes with huggingface_hub."""
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/{1,3}(?=[^/])|(pipe):")
"""One slash is what pathlib leaves of two; file:///x has three."""


@dataclass(frozen=True)
class Remote:
    """A file or folder behind a URL. In words it is named without credentials: no user, no password, no query."""

    url: str

    def __truediv__(self, name: str) -> Remote:
        """What is called `name` in it; a query (a signature) stays at the end."""
        parts = urlsplit(self.url)
        return Remote(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def name(self) -> str:
        return str(self).rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Remote:
        parts = urlsplit(self.url)
        return Remote(urlunsplit(parts._replace(path=parts.path.rstrip("/").rpartition("/")[0])))

    @property
    def protocol(self) -> str:
        return urlsplit(self.url).scheme


Place = Path | Remote


def parse(text: str | Path | Remote) -> Place:
    """The folder or URL that is meant. Raises UsageError for a protocol that vhs does not read."""
    if isinstance(text, Remote):
        return text
    found = URL.match(str(text))
    if found is None:
        return Path(text)
    protocol = (found[1] or found[2]).lower()
    if protocol == "file":
        return Path("/", str(text)[found.end() :].lstrip("/"))
    if protocol == "pipe":
        raise UsageError(
            f"{redacted(str(text))}: would run a command. Name a folder, or a URL of {choices(PROTOCOLS)}."
        )
    if protocol not in PROTOCOLS:
        raise UsageError(f"{protocol}://…: is no protocol that vhs reads. Name a folder, or {choices(PROTOCOLS)}.")
    return _checked(Remote(f"{protocol}://{str(text)[found.end() :]}"))


def _checked(place: Remote) -> Remote:
    """Raises UsageError, which shows no credentials, for a URL that nothing could open."""
    shown = f"{place.protocol}://…{place.url.rpartition('@')[2][-40:] if '@' in place.url else ''}"
    try:
        parts = urlsplit(place.url)
        _ = parts.port if place.protocol in ("http", "https") else None  # the port of an S3 access point is none
    except ValueError:
        raise UsageError(
            f"{shown}: is no URL: its host or port cannot be read. In a password write / as %2F, @ as %40, : as %3A."
        ) from None
    if "@" in parts.netloc and place.protocol not in ("http", "https"):
        raise UsageError(
            f"{shown}: holds credentials, which {place.protocol} takes from the environment. Leave them out of the URL."
        )
    return place


def join(folder: Place, at: str | None) -> Place:
    """What lies `at`: a URL, or a path from `folder` on; None is the folder itself."""
    there = parse(at) if at is not None else None
    if there is None or isinstance(there, Remote):
        return there or folder
    return folder / str(there)


def redacted(text: str) -> str:
    """A text with the credentials taken out of the URLs in it: users, passwords, queries."""
    return re.sub(r"(\w+://)(?:[^/@\s]+@)?([^\s?'\"]*)(?:\?[^\s'\"]*)?", r"\1\2", text)
