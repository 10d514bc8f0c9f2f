"""`shards.digests`: a short digest of each sample of a set, so that a subset can be checked without its whole tars.

MAGIC, the manifest's hash (16 hex digits), a digest of all keys, labels and .json in stored order (16 bytes), then
8 bytes a sample: the digest of its images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vhs.formats import transfers
from vhs.formats.atomic import write_whole
from vhs.formats.images import SUFFIXES
from vhs.formats.places import Place, Remote

FILE = "shards.digests"
MAGIC = b"vhs-digests-1\n"
MOST = 1 << 30
"""Bytes of such a file behind a URL."""
HASH, TOLD, EACH = 16, 16, 8
"""Bytes of the manifest's hash, of the digest of what is told, of a sample's digest."""


class Digests(NamedTuple):
    """told: of all keys, labels and .json; each: EACH bytes a sample, one after another."""

    stated: bytes
    each: bytes


class Statements:
    """The digest of keys, labels and .json, sample by sample."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=TOLD)

    def add(self, key: str, label: bytes | memoryview, stated: bytes | memoryview) -> None:
        """label: of `.cls`, told: of `.json`; empty where a sample has none."""
        name = key.encode("utf-8", "surrogateescape")
        self._digest.update(b"%d,%d,%d\n" % (len(name), len(label), len(stated)))
        for part in (name, label, stated):
            self._digest.update(part)

    def value(self) -> bytes:
        """TOLD bytes."""
        return self._digest.digest()


class Collected:
    """The digests of a set that is being written, sample by sample in stored order."""

    def __init__(self) -> None:
        self._stated, self._each = Statements(), bytearray()

    def add(self, key: str, label: bytes, stated: bytes, images: Mapping[str, memoryview]) -> None:
        """label: of `.cls`; stated: of `.json`; images: by suffix."""
        self._stated.add(key, label, stated)
        image = next(images[suffix] for suffix in SUFFIXES if suffix in images)
        further = {name: data for name, data in images.items() if name not in SUFFIXES}
        self._each += of_images(image, further)

    def digests(self) -> Digests:
        """Of all samples so far."""
        return Digests(self._stated.value(), bytes(self._each))


def of_images(image: bytes | memoryview, further: Mapping[str, bytes | memoryview]) -> bytes:
    """Of a sample's image and its further ones, by suffix: the first bytes of sha256, which processors compute."""
    digest = hashlib.sha256(image)
    for suffix in sorted(further):
        digest.update(f"{suffix},{len(further[suffix])}\n".encode())
        digest.update(further[suffix])
    return digest.digest()[:EACH]


def of(known: Digests, place: int) -> bytes:
    """That of the sample at this place in stored order."""
    return known.each[place * EACH : (place + 1) * EACH]


def write(folder: Path, manifest_hash: str, digests: Digests) -> None:
    """Beside the manifest, whole or not at all."""
    write_whole(folder / FILE, MAGIC + manifest_hash.encode() + digests.stated + digests.each)


def read(folder: Place, manifest_hash: str, samples: int) -> Digests | None:
    """Those of the set with this manifest and so many samples; None where there are none, or another set's."""
    path = folder / FILE
    size = len(MAGIC) + HASH + TOLD + EACH * samples
    try:
        if isinstance(path, Remote):
            data = transfers.read_if_there(path, MOST) or b""
        else:
            data = path.read_bytes() if path.is_file() and path.stat().st_size == size else b""
    except OSError:
        return None
    start = len(MAGIC) + HASH
    if len(data) != size or data[:start] != MAGIC + manifest_hash.encode():
        return None
    return Digests(data[start : start + TOLD], data[start + TOLD :])
