"""Writing a shard set: whole tars one after another, the manifest last; a killed run is continued."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np

from vhs.errors import InputError, UnreadableError, UsageError, VhsError
from vhs.formats import digests, index
from vhs.formats.atomic import sha256, sha256_file, write_whole
from vhs.formats.digests import Collected
from vhs.formats.images import decode, has_colour, suffix_of
from vhs.formats.index import Index, Row
from vhs.formats.manifest import Manifest, TarEntry
from vhs.formats.shard_journal import JOURNAL, Encoded, Written, resume, save_journal, saved
from vhs.formats.shards import LABELS, MANIFEST, ShardSet, rows_of
from vhs.formats.split import Split, check_texts, right_labels
from vhs.formats.tar import open_tar, tar_bytes
from vhs.progress import Progress, silent

PER_TAR = 1000
BLOCK = 1 << 20
"""Pixels summed at a time."""


def write_set(
    out: Path, split: Split, *, per_tar: int = PER_TAR, skip_bad: bool = False,
    progress: Progress = silent,
) -> tuple[Manifest, list[str]]:  # fmt: skip
    """Write `split` as a shard set to the folder `out`; returns its manifest and the messages of skipped samples.

    Of a complete set of the same plan, and of an interrupted run of it, tars that are missing or not what was recorded
    are made again and the others kept; a complete set of another plan is refused. Images are decoded once, so a bad one
    is found here.
    """
    check(split)
    plan = plan_of(split, per_tar, skip_bad)
    done = finished_manifest(out, plan)
    state = Written() if done is not None else _resume(out, plan)
    recorded = done.tars if done is not None else tuple(TarEntry(**entry) for entry in state.tars)
    told = Told()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number in range(-(-len(split.ids) // per_tar)):
            chunk = range(number * per_tar, min((number + 1) * per_tar, len(split.ids)))
            progress(str(out), chunk.start, len(split.ids))
            samples = partial(_encode, split, chunk, pool, skip_bad)
            if number < len(recorded):
                data = _mend(out, recorded[number], samples)
            else:
                data = _write_tar(out, f"{number:06d}.tar", samples(state.skipped), state)
                save_journal(out, plan, state)
            told.add(data, out / f"{number:06d}.tar", number)
    progress(str(out), len(split.ids), len(split.ids))
    return complete(out, done or manifest_of(split, state, plan), told), state.skipped


def check(split: Split) -> None:
    """Raises InputError for a split that cannot become a set."""
    if not len(split.ids):
        raise InputError(f"{split.name}/{split.split}: has no samples.")
    check_texts(split)
    if split.several and LABELS in split.attributes:
        raise InputError(f"{split.name}: an attribute is called {LABELS}, where all right labels stand. Rename it.")


def _mend(out: Path, entry: TarEntry, samples: Callable[[list[str]], Iterator[Encoded]]) -> mmap | bytes:
    """A tar that is there already, made again where it is missing or not what was recorded of it."""
    path = out / entry.name
    if path.is_file() and path.stat().st_size == entry.bytes and sha256_file(path) == entry.sha256:
        return open_tar(path)
    data = _tar(samples([]))[0]
    if sha256(data) != entry.sha256:
        raise InputError(
            f"{path}: is damaged, and its source no longer gives what it held. Remove {out}; shard it anew."
        )
    write_whole(path, data)
    return data


@dataclass
class Told:
    """What a set has beside its tars, collected sample by sample in stored order."""

    digests: Collected = field(default_factory=Collected)
    index: Index = field(default_factory=Index)

    def add(self, data: mmap | bytes, path: Path, number: int) -> None:
        """The samples of the `number`th tar."""
        for row in rows_of(data, path, number):
            self.add_row(row, memoryview(data))

    def add_row(self, row: Row, data: memoryview) -> None:
        """A sample of a tar with these bytes."""
        images = {suffix: data[part.offset : part.offset + part.size] for suffix, part in row.members.items()}
        self.digests.add(row.key, row.label.encode(), row.json.encode(), images)
        self.index.add(row)


def complete(out: Path, manifest: Manifest, told: Told) -> Manifest:
    """Write what a complete set has beside its tars, the manifest last; what is there already stays untouched."""
    digested = told.digests.digests()
    if digests.read(out, manifest.hash, manifest.samples) != digested:
        digests.write(out, manifest.hash, digested)
    if not index.holds(out, manifest.hash, [entry.bytes for entry in manifest.tars], told.index):
        index.write(out, told.index, manifest.hash)
    if not (out / MANIFEST).exists():
        write_whole(out / MANIFEST, manifest.to_bytes())
    (out / JOURNAL).unlink(missing_ok=True)
    return manifest


def is_begun(out: Path, split: Split, per_tar: int, skip_bad: bool, journal: str = JOURNAL) -> bool:
    """Whether a set of this plan is in `out`, whole or in part."""
    plan = plan_of(split, per_tar, skip_bad)
    whole = (out / MANIFEST).exists() and ShardSet.open(out).manifest.extra.get("plan") == plan
    return whole or resume(out, plan, journal) is not None


def plan_of(split: Split, per_tar: int, skip_bad: bool) -> str:
    """What stands for a set before it is made: another plan makes another set."""
    import PIL

    parts = [split.fingerprint, split.name, split.split, split.classes, split.channels, per_tar, skip_bad]
    parts += [split.base, split.extra] if split.extra or split.base else []
    parts += [{name: list(values) for name, values in split.attributes.items()}] if split.attributes else []
    parts += [{name: list(values) for name, values in split.targets.items()}] if split.targets else []
    parts += [list(split.several)] if split.several else []
    parts += [dict(split.members_of)] if split.members_of else []
    return sha256(repr([*parts, list(split.labels), PIL.__version__]).encode())


def finished_manifest(out: Path, plan: str) -> Manifest | None:
    """That of a complete set of this plan in `out`, None where there is none. Raises UsageError for another set."""
    path = out / MANIFEST
    if not path.exists():
        return None
    manifest = ShardSet.open(out).manifest
    if manifest.extra.get("plan") != plan:
        raise UsageError(f"{out}: already holds another shard set. Name another folder, or remove this one.")
    return manifest


def _resume(out: Path, plan: str) -> Written:
    """The state of an interrupted run of this plan; else a fresh start, without the tars of a run of another one.

    Raises UsageError for tars in `out` that no journal says are ours: they would be written over.
    """
    state = resume(out, plan)
    if state is not None:
        return state
    journal = out / JOURNAL
    other = saved(journal)
    if other is not None:  # its next tar may have been written, too
        for name in (*(Path(entry["name"]).name for entry in other.tars), f"{len(other.tars):06d}.tar"):
            (out / name).unlink(missing_ok=True)
    held = next(iter(sorted(out.glob("[0-9]" * 6 + ".tar"))), None)
    if held is not None:
        why = f"{journal.name} is damaged" if journal.exists() and other is None else "it is of no set of vhs"
        raise UsageError(f"{held}: would be written over, and {why}. Name another folder, or move it.")
    save_journal(out, plan, Written())  # from now on tars here are ours
    return Written()


def _encode(
    split: Split, chunk: range, pool: ThreadPoolExecutor, skip_bad: bool, skipped: list[str]
) -> Iterator[Encoded]:
    def attempt(position: int) -> Encoded | InputError:
        try:
            return _sample(split, position)
        except UnreadableError:
            raise
        except InputError as error:
            return error

    for result in pool.map(attempt, chunk):
        if isinstance(result, Encoded):
            yield result
        elif skip_bad:
            skipped.append(str(result))
        else:
            raise InputError(f"{result} Mend it, or leave such images out with --skip-bad.")


def _sample(split: Split, position: int) -> Encoded:
    key, label = split.ids[position], split.labels[position]
    several = split.several[position] if split.several else (label,)
    wrong = next((each for each in several if not 0 <= each < len(split.classes)), None)
    if not split.targets and wrong is not None:
        raise InputError(f"{split.name}: {key}: label {wrong}, expected a class below {len(split.classes)}.")
    data = split.encoded(position)
    pixels = decoded(data, split, f"{split.name}/{split.split}: {key}")
    members = [(f"{key}.cls", str(label).encode())] if not split.targets else []
    stated = told_of(split, position)
    if stated:
        members.append((f"{key}.json", stated.encode()))
    members.append((f"{key}.{suffix_of(data)}", data))
    members += [(f"{key}.{suffix}", made(position)) for suffix, made in split.members.items()]
    return Encoded(members, *sums(pixels), pixels.shape[:2])


class Coloured(VhsError):
    """An image of a set that was taken for grey has colours, which would be lost."""


def decoded(data: bytes | memoryview, split: Split, where: str) -> np.ndarray:
    """uint8 [H, W, C]. Raises InputError for what is no image, Coloured for colours in a grey set."""
    pixels = decode(data, split.channels, where)
    if split.channels == 1 and has_colour(data):
        raise Coloured(f"{where}: has colours, the images before it are grey.")
    return pixels


def told_of(split: Split, position: int) -> str:
    """The text of a sample's `.json`: attributes, targets, and all right labels where it has several; else nothing."""
    told: dict[str, Any] = {name: values[position] for name, values in split.attributes.items()}
    told |= {name: float(values[position]) for name, values in split.targets.items()}
    several = split.several[position] if split.several else ()
    told |= {LABELS: list(several)} if len(several) > 1 else {}
    return json.dumps(told, sort_keys=True) if told else ""


def sums(pixels_HWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [C]: sums of values and of squares, by blocks of rows, since 8 bytes a value are many."""
    rows = max(1, BLOCK // pixels_HWC.shape[1])
    first, second = np.zeros((2, pixels_HWC.shape[-1]), np.int64)
    for start in range(0, len(pixels_HWC), rows):
        block = pixels_HWC[start : start + rows].astype(np.int64)
        first += block.sum((0, 1))
        second += (block**2).sum((0, 1))
    return first, second


def _tar(samples: Iterator[Encoded]) -> tuple[bytes, list[Encoded]]:
    encoded = list(samples)
    return tar_bytes(member for sample in encoded for member in sample.members), encoded


def _write_tar(out: Path, name: str, samples: Iterator[Encoded], state: Written) -> bytes:
    data, encoded = _tar(samples)
    write_whole(out / name, data)
    state.add(TarEntry(name, len(encoded), len(data), sha256(data)), encoded)
    return data


def manifest_of(split: Split, state: Written, plan: str) -> Manifest:
    """The manifest of a set whose tars are all there."""
    entries = tuple(TarEntry(**entry) for entry in state.tars)
    samples = sum(entry.samples for entry in entries)
    if not samples:
        raise InputError(f"{split.name}/{split.split}: no sample could be read.")
    mean, std = _statistics(state, split.channels)
    sizes = {tuple(size) for of_tar in state.sizes for size in of_tar}
    height, width = next(iter(sizes)) if len(sizes) == 1 else (None, None)
    return Manifest(
        name=split.name, split=split.split, classes=split.classes, samples=samples, tars=entries,
        channels=split.channels, height=height, width=width, mean=mean, std=std, source=split.source,
        licence=split.licence, base=split.base, task="regression" if split.targets else "classification",
        targets=tuple(split.targets), groups=tuple(split.attributes),
        values={name: tuple(sorted(set(values))) for name, values in split.attributes.items()},
        labels=max(len(labels) for labels in right_labels(split)), members=dict(split.members_of),
        regions=split.regions, extra=split.extra | {"plan": plan, "skipped": len(state.skipped)},
    )  # fmt: skip


def _statistics(state: Written, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel on the scale 0 to 1, from whole-number sums."""
    total = sum(state.pixels)
    mean, std = [], []
    for channel in range(channels):
        first = sum(row[channel] for row in state.sums if len(row) == channels)
        second = sum(row[channel] for row in state.squares if len(row) == channels)
        average = first / total
        mean.append(round(average / 255, 6))
        std.append(round(max(second / total - average**2, 1.0) ** 0.5 / 255, 6))
    return tuple(mean), tuple(std)
