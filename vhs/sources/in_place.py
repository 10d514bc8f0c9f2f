"""A set of tars that others wrote, described where it lies: a manifest, an index and digests, and no image copied.

Every image is decoded once, as when tars of ours are written. What is done is kept tar by tar, so that a run that was
cut goes on; nothing but files of ours is ever removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from vhs.errors import InputError, UnreadableError, UsageError
from vhs.formats import sharding, tar_cache
from vhs.formats.atomic import sha256_file
from vhs.formats.images import suffix_of
from vhs.formats.index import Row
from vhs.formats.manifest import Manifest, TarEntry
from vhs.formats.places import Place, Remote
from vhs.formats.shard_journal import Encoded, Written, resume, save_journal
from vhs.formats.sharding import Told
from vhs.formats.split import Split
from vhs.formats.tar import open_tar
from vhs.progress import Progress, silent
from vhs.sources import compressed
from vhs.sources.foreign_split import local

JOURNAL = "shards.in-place.json"


def describe(
    out: Path, split: Split, *, skip_bad: bool = False, progress: Progress = silent
) -> tuple[Manifest, list[str]]:  # fmt: skip
    """Write what describes the set to the folder `out`; returns its manifest and the messages of skipped samples.

    split: with `tars` and `lies`. A complete description of it is left as it is; one of another is refused. Raises
    InputError naming a sample that cannot be decoded, unless `skip_bad`.
    """
    sharding.check(split)
    split = _pointing(split, out)
    plan = sharding.plan_of(split, 0, skip_bad)
    done = sharding.finished_manifest(out, plan)
    state = Written() if done else resume(out, plan, JOURNAL) or Written()
    recorded = done.tars if done else tuple(TarEntry(**entry) for entry in state.tars)
    told = Told()
    by_tar = _by_tar(split)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (place, positions) in enumerate(by_tar.items()):
            progress(f"reading {split.name}/{split.split}", number, len(by_tar))
            tar = _Tar.open(number, place)
            known = recorded[number] if number < len(recorded) else None
            if known is not None and known.samples == len(positions):
                rows = [_row(split, tar, position) for position in positions]
            else:  # new, or one of which bad samples were left out: which ones is found again
                looked = pool.map(partial(_attempt, split, tar), positions)
                rows, encoded = _good(looked, None if not skip_bad else [] if known else state.skipped)
            entry = _entry(tar, len(rows))
            if known is None:
                state.add(entry, encoded)
                save_journal(out, plan, state, JOURNAL)
            elif known != entry:
                raise UsageError(f"{place}: has changed since {out} was begun. Remove {out}, or name another folder.")
            for row in rows:
                told.add_row(row, tar.data)
    progress(f"reading {split.name}/{split.split}", len(by_tar), len(by_tar))
    manifest = sharding.complete(out, done or sharding.manifest_of(split, state, plan), told)
    (out / JOURNAL).unlink(missing_ok=True)
    return manifest, state.skipped


def is_begun(out: Path, split: Split, skip_bad: bool) -> bool:
    """Whether a description of it is in `out`, whole or in part."""
    return sharding.is_begun(out, _pointing(split, out), 0, skip_bad, JOURNAL)


def _pointing(split: Split, out: Path) -> Split:
    """The split with where its tars lie."""
    return replace(split, extra=split.extra | {"tars_at": _folder_of(split.tars, out)})


class _Tar(NamedTuple):
    """A tar that is described: its number in the set, where it lies, and its bytes here."""

    number: int
    place: Place
    path: Path
    data: memoryview

    @classmethod
    def open(cls, number: int, place: Place) -> _Tar:
        path = local(place)
        if compressed.is_compressed(path):
            raise InputError(f"{place}: is compressed, so that no image has a place in it. Shard without --in-place.")
        return cls(number, place, path, memoryview(open_tar(path)))


def _folder_of(tars: tuple[Place, ...], out: Path) -> str:
    """Where the tars lie: a URL, or a path from `out` on. Raises UsageError where they lie in several folders."""
    folders = {str(place.parent if isinstance(place, Remote) else place.parent.resolve()) for place in tars}
    if len(folders) > 1:
        raise UsageError(f"--in-place: {tars[0]} and others lie in {len(folders)} folders; a set's lie in one.")
    first = tars[0]
    if isinstance(first, Remote):
        if str(first) != first.url:
            raise UsageError(
                f"--in-place: {first}: its URL holds credentials, which no file should. Give them in the environment."
            )
        return first.parent.url
    at = os.path.relpath(folders.pop(), out.resolve())
    try:
        at.encode()
    except UnicodeEncodeError:
        raise InputError(f"{at!r}: is a name that is not UTF-8, which a manifest cannot hold. Rename it.") from None
    return at


def _by_tar(split: Split) -> dict[Place, list[int]]:
    """Positions of the samples of each tar that has any, in order."""
    found: dict[Place, list[int]] = {}
    for position, (number, _) in enumerate(split.lies):
        found.setdefault(split.tars[number], []).append(position)
    return found


def _attempt(split: Split, tar: _Tar, position: int) -> tuple[Row, Encoded] | InputError:
    """A sample's row, and what is summed over its pixels; what is wrong with one that cannot be decoded."""
    try:
        row = _row(split, tar, position)
        (image,) = row.members.values()
        data = tar.data[image.offset : image.offset + image.size]
        pixels = sharding.decoded(data, split, f"{tar.place}: {image.name}")
    except UnreadableError:
        raise
    except InputError as error:
        return error
    return row, Encoded([], *sharding.sums(pixels), pixels.shape[:2])


def _row(split: Split, tar: _Tar, position: int) -> Row:
    image = split.lies[position][1]
    kind = suffix_of(tar.data[image.offset : image.offset + 12])
    if kind is None:
        raise InputError(f"{tar.place}: {image.name}: is not a PNG, JPEG or WebP image.")
    label, stated = str(split.labels[position]), sharding.told_of(split, position)
    return Row(tar.number, split.ids[position], label, stated, {kind: image})


def _good(
    looked: Iterable[tuple[Row, Encoded] | InputError], skipped: list[str] | None
) -> tuple[list[Row], list[Encoded]]:
    """What is sound of a tar. skipped: takes the messages of what is not; None where none may be left out."""
    rows, encoded = [], []
    for found in looked:
        if not isinstance(found, InputError):
            rows.append(found[0])
            encoded.append(found[1])
        elif skipped is None:
            raise InputError(f"{found} Mend it, or leave such images out with --skip-bad.") from found
        else:
            skipped.append(str(found))
    return rows, encoded


def _entry(tar: _Tar, samples: int) -> TarEntry:
    digest = sha256_file(tar.path)
    if isinstance(tar.place, Remote):  # where the set's own reading will look for it
        tar_cache.default().adopt(tar.path, digest)
    return TarEntry(tar.place.name, samples, len(tar.data), digest)
