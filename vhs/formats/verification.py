"""Whether a shard set still is what its manifest says: tars against their hashes, or single samples against digests.

Runs beside the decoding, in threads (hashing leaves the interpreter to others).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from vhs.errors import InputError
from vhs.formats import digests, subsets
from vhs.formats.atomic import sha256_file
from vhs.formats.manifest import TarEntry
from vhs.formats.sample import Sample
from vhs.formats.shards import ShardSet
from vhs.formats.tars import CachedTars

THREADS = 2
CHUNK = 256
"""Samples a check."""
MEND = (
    "Shard it again (it rebuilds what is damaged), or copy it again; what measures reads it all the same with "
    "--no-verify."
)


class Verification:
    """Checks of what is read of a set, begun in threads of their own.

    All samples: whole tars; some: their digests, or whole tars where the set has none. share: (rank, ranks), of
    which each checks its part of the tars.
    """

    def __init__(self, data: ShardSet, samples: Sequence[Sample], share: tuple[int, int] = (0, 1)) -> None:
        self._pool = ThreadPoolExecutor(THREADS)
        checks = _checks(data, samples, share) if data.verify else []
        self._running = [self._pool.submit(check) for check in checks]

    def join(self) -> None:
        """Wait for the checks; raises InputError naming what is not as it was sharded."""
        try:
            for check in self._running:
                check.result()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def abandon(self) -> None:
        """Begin no further check."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def verify(data: ShardSet, samples: Sequence[Sample], share: tuple[int, int] = (0, 1)) -> Iterator[None]:
    """Check what is read while the block runs, and fetch no more of a set elsewhere; raises InputError at its end."""
    subsets.expect(data, samples)
    checks = Verification(data, samples, share)
    try:
        yield
    except BaseException:
        checks.abandon()
        raise
    checks.join()


def _checks(data: ShardSet, samples: Sequence[Sample], share: tuple[int, int]) -> list[Callable[[], None]]:
    if isinstance(data.tars, CachedTars):
        return []  # compared as they come, and whenever a process first finds them in the cache
    known = data.digests if len(samples) < data.manifest.samples else None
    if known is not None:
        parts = [samples[start : start + CHUNK] for start in range(0, len(samples), CHUNK)]
        return [partial(_check_samples, part, known) for part in parts]
    rank, ranks = share
    return [partial(check_tar, data, entry) for entry in data.manifest.tars[rank::ranks]]


def check_tars(data: ShardSet) -> None:
    """Raises InputError for a set of which a tar is not the one of the manifest."""
    for entry in data.manifest.tars if data.verify else ():
        check_tar(data, entry)


def check_tar(data: ShardSet, entry: TarEntry) -> None:
    """Raises InputError where a tar is not the one of the manifest."""
    where = data.tars.where(entry)
    try:
        found = sha256_file(data.tars.path(entry))
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror}.") from error
    if found != entry.sha256:
        raise InputError(f"{where}: its content is not what the manifest says (sha256 {found[:12]}…). {MEND}")


def _check_samples(samples: Sequence[Sample], known: digests.Digests) -> None:
    for sample in samples:
        if digests.of_images(sample.image, sample.further) != digests.of(known, sample.place):
            raise InputError(f"{sample.where}: its content is not what was sharded. {MEND}")
