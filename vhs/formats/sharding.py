"""Writing a shard set: whole tars one after another, the manifest last; a killed run is continued."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vhs.errors import InputError, UsageError
from vhs.formats.atomic import sha256, sha256_file, write_whole
from vhs.formats.images import decode, suffix_of
from vhs.formats.shards import MANIFEST, Manifest, TarEntry
from vhs.formats.split import Split
from vhs.formats.tar import tar_bytes
from vhs.progress import Progress, silent

JOURNAL = "shards.partial.json"
PER_TAR = 1000


class Encoded(NamedTuple):
    """One sample ready for its tar. pixels: sums of values and squares per channel, and their number."""

    members: list[tuple[str, bytes]]
    sums: np.ndarray
    squares: np.ndarray
    size: tuple[int, int]


@dataclass
class Written:
    """What a finished tar adds to the manifest; kept in the journal."""

    tars: list[dict[str, Any]] = field(default_factory=list)
    sums: list[list[int]] = field(default_factory=list)
    squares: list[list[int]] = field(default_factory=list)
    sizes: list[list[list[int]]] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def write_set(
    out: Path, split: Split, *, per_tar: int = PER_TAR, skip_bad: bool = False,
    progress: Progress = silent,
) -> tuple[Manifest, list[str]]:  # fmt: skip
    """Write `split` as a shard set to the folder `out`; returns its manifest and the messages of skipped samples.

    A complete set of the same plan is left alone; one of another plan is refused. Complete tars of an
    interrupted run of the same plan are kept. Images are decoded once, so a bad one is found here.
    """
    if not len(split.ids):
        raise InputError(f"{split.name}/{split.split}: has no samples.")
    plan = _plan(split, per_tar, skip_bad)
    done = _finished(out, plan)
    if done is not None:
        return done, []
    state = _resumed(out, plan)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number in range(len(state.tars), -(-len(split.ids) // per_tar)):
            chunk = range(number * per_tar, min((number + 1) * per_tar, len(split.ids)))
            progress(str(out), chunk.start, len(split.ids))
            _write_tar(out, f"{number:06d}.tar", _encode(split, chunk, pool, skip_bad, state.skipped), state)
            _save_journal(out, plan, state)
    progress(str(out), len(split.ids), len(split.ids))
    manifest = _manifest(split, state, plan)
    write_whole(out / MANIFEST, manifest.to_bytes())
    (out / JOURNAL).unlink(missing_ok=True)
    return manifest, state.skipped


def _plan(split: Split, per_tar: int, skip_bad: bool) -> str:
    import PIL

    parts = [split.fingerprint, split.name, split.split, split.classes, split.channels, per_tar, skip_bad]
    parts += [split.base, split.extra] if split.extra or split.base else []
    parts += [{name: list(values) for name, values in split.attributes.items()}] if split.attributes else []
    parts += [{name: list(values) for name, values in split.targets.items()}] if split.targets else []
    return sha256(repr([*parts, list(split.labels), PIL.__version__]).encode())


def _finished(out: Path, plan: str) -> Manifest | None:
    path = out / MANIFEST
    if not path.exists():
        return None
    manifest = Manifest.from_bytes(path.read_bytes(), path)
    if manifest.extra.get("plan") != plan:
        raise UsageError(f"{out}: already holds another shard set. Name another folder, or remove this one.")
    return manifest


def _resumed(out: Path, plan: str) -> Written:
    """The state of an interrupted run of this plan whose tars are still whole; else a fresh start."""
    try:
        saved = json.loads((out / JOURNAL).read_bytes())
        state = Written(**saved["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return Written()
    entries = [TarEntry(**entry) for entry in state.tars]
    whole = all((out / e.name).is_file() and sha256_file(out / e.name) == e.sha256 for e in entries)
    return state if saved["plan"] == plan and whole else Written()


def _encode(
    split: Split, chunk: range, pool: ThreadPoolExecutor, skip_bad: bool, skipped: list[str]
) -> Iterator[Encoded]:
    def attempt(position: int) -> Encoded | InputError:
        try:
            return _sample(split, position)
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
    if not split.targets and not 0 <= label < len(split.classes):
        raise InputError(f"{split.name}: {key}: label {label}, expected a class below {len(split.classes)}.")
    data = split.encoded(position)
    values = decode(data, split.channels, f"{split.name}/{split.split}: {key}").astype(np.int64)
    members = [(f"{key}.cls", str(label).encode())] if not split.targets else []
    told: dict[str, Any] = {name: values[position] for name, values in split.attributes.items()}
    told |= {name: float(values[position]) for name, values in split.targets.items()}
    if told:
        members.append((f"{key}.json", json.dumps(told, sort_keys=True).encode()))
    members.append((f"{key}.{suffix_of(data)}", data))
    members += [(f"{key}.{suffix}", made(position)) for suffix, made in split.members.items()]
    return Encoded(members, values.sum((0, 1)), (values**2).sum((0, 1)), values.shape[:2])


def _write_tar(out: Path, name: str, samples: Iterator[Encoded], state: Written) -> None:
    encoded = list(samples)
    data = tar_bytes(member for sample in encoded for member in sample.members)
    write_whole(out / name, data)
    state.tars.append(TarEntry(name, len(encoded), len(data), sha256(data))._asdict())
    state.sums.append(sum((sample.sums for sample in encoded), np.zeros(1, int)).tolist())
    state.squares.append(sum((sample.squares for sample in encoded), np.zeros(1, int)).tolist())
    state.sizes.append(sorted({sample.size for sample in encoded})[:2])  # type: ignore[arg-type]
    state.pixels.append(sum(sample.size[0] * sample.size[1] for sample in encoded))


def _save_journal(out: Path, plan: str, state: Written) -> None:
    write_whole(out / JOURNAL, json.dumps({"plan": plan, "state": vars(state)}).encode())


def _manifest(split: Split, state: Written, plan: str) -> Manifest:
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
