"""A set of tars that others wrote, described where it lies: a manifest, an index and digests, and no image copied.

Every image is decoded once, as when tars of ours are written. What is done is kept tar by tar, so that a run that was
cut goes on; nothing but files of ours is ever removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from vhs.errors import InputError, UsageError
from vhs.formats import sharding, tar_cache
from vhs.formats.atomic import sha256, sha256_file
from vhs.formats.images import decode, suffix_of
from vhs.formats.index import Row
from vhs.formats.manifest import Manifest, TarEntry
from vhs.formats.places import Place, Remote
from vhs.formats.shard_journal import Encoded, Written, resume, save_journal
from vhs.formats.sharding import Told
from vhs.formats.tar import Member, open_tar
from vhs.progress import Progress, silent
from vhs.sources import foreign_split
from vhs.sources.foreign_split import Contents, Located, local

JOURNAL = "shards.in-place.json"


def describe(out: Path, contents: Contents, *, progress: Progress = silent) -> Manifest:
    """Write what describes the set to the folder `out`; returns its manifest.

    A complete description of these tars is left as it is; one of others is refused. Raises InputError naming a sample
    that cannot be decoded: nobody could leave it out of tars that stay as they are.
    """
    at = _folder_of(contents.of.tars, out)
    looked_at = zip(contents.of.tars, contents.states, strict=True)
    sizes = "\n".join(f"{place.name}:{state.size}" for place, state in looked_at)
    split = replace(foreign_split.split_of(contents), extra={"tars_at": at}, fingerprint=sha256(sizes.encode()))
    plan = sharding.plan_of(split, 0, skip_bad=False)
    done = sharding.finished_manifest(out, plan)
    state = Written() if done else resume(out, plan, JOURNAL) or Written()
    recorded = done.tars if done else tuple(TarEntry(**entry) for entry in state.tars)
    told = Told()
    by_tar = _by_tar(contents)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, place in enumerate(contents.of.tars):
            progress(f"reading {split.name}/{split.split}", number, len(by_tar))
            path = local(place)
            data = memoryview(open_tar(path))
            rows = list(_rows(contents, by_tar[number], data))
            entry = _entry(place, path, len(rows))
            if number >= len(recorded):
                state.add(entry, list(pool.map(partial(_checked, split.channels, data, place), rows)))
                save_journal(out, plan, state, JOURNAL)
            elif recorded[number] != entry:
                raise UsageError(f"{place}: has changed since {out} was begun. Remove {out}, or name another folder.")
            for row in rows:
                told.add_row(row, data)
    progress(f"reading {split.name}/{split.split}", len(by_tar), len(by_tar))
    manifest = done or sharding.manifest_of(split, state, plan)
    sharding.complete(out, manifest, told)
    (out / JOURNAL).unlink(missing_ok=True)
    return manifest


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


def _by_tar(contents: Contents) -> list[list[int]]:
    """Positions of the samples of each tar."""
    found: list[list[int]] = [[] for _ in contents.of.tars]
    for position, item in enumerate(contents.samples):
        found[item.tar].append(position)
    return found


def _rows(contents: Contents, positions: list[int], data: memoryview) -> Iterator[Row]:
    for position in positions:
        item: Located = contents.samples[position]
        image = item.sample.image
        kind = suffix_of(data[image.offset : image.offset + 12])
        if kind is None:
            where = contents.of.tars[item.tar]
            raise InputError(
                f"{where}: {image.name}: is not a PNG, JPEG or WebP image. Mend it, or shard without --in-place."
            )
        yield Row(item.tar, contents.ids[position], str(contents.labels[position]), "", {kind: image})


def _checked(channels: int, data: memoryview, place: Place, row: Row) -> Encoded:
    image: Member = next(iter(row.members.values()))
    try:
        pixels = decode(data[image.offset : image.offset + image.size], channels, f"{place}: {image.name}")
    except InputError as error:
        raise InputError(f"{error} Mend it, or shard without --in-place and with --skip-bad.") from error
    return Encoded([], *sharding.sums(pixels), pixels.shape[:2])


def _entry(place: Place, path: Path, samples: int) -> TarEntry:
    digest = sha256_file(path)
    if isinstance(place, Remote):  # where the set's own reading will look for it
        tar_cache.default().adopt(path, digest)
    return TarEntry(place.name, samples, path.stat().st_size, digest)
