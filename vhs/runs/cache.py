"""Every sample decoded once, as uint8 at the data's evaluation geometry.

In memory, or above a limit in a memory-mapped scratch file that disappears with the process.

Letters: N samples of the set, B samples of a tile, C channels, H height, W width.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from vhs.batch import Batch
from vhs.environment import memory_bytes
from vhs.errors import InputError, UnreadableError, UsageError, VhsError
from vhs.formats import pixels
from vhs.formats.manifest import Manifest
from vhs.formats.pixels import IMAGENET, Geometry
from vhs.formats.sample import Sample
from vhs.formats.shards import ShardSet
from vhs.formats.verification import verify
from vhs.measures.views import padded
from vhs.progress import Progress, silent
from vhs.runs.sample_groups import Groups, group
from vhs.seeds import FOLDS, folds, nested_order, sample_keys
from vhs.world import WHOLE, Part, world

MEMORY_SHARE = 0.4
THREADED_PIXELS = 64 * 64
"""Images larger than this are decoded on several threads; for small PNGs threads only cost."""
CHUNK = 256


@dataclass(frozen=True)
class Beside:
    """Other images of the same samples, uint8, None where there are none: maps of regions, bare twins, and, of a stored
    shift, the images before it. added: bool, in which regions images differ from their twins."""

    regions_NHW: torch.Tensor | None = None
    bare_NCHW: torch.Tensor | None = None
    clean_NCHW: torch.Tensor | None = None
    added_NR: torch.Tensor | None = None


@dataclass(frozen=True)
class Decoded:
    """This rank's decoded samples of one shard set.

    images_NCHW: uint8; labels_N, keys_N, folds_N: int64; groups: how they are grouped; positions_N: int64, their
    places among all chosen samples; chosen: the ids of these, bad ones, other ranks' and other parts' included;
    targets_NT: float32, standardised, T is 0 but for regression; labels_NL: int64, all right labels, -1 beyond, where
    samples have several; beside: what lies beside the images, where
    that is measured.
    """

    manifest: Manifest
    images_NCHW: torch.Tensor
    labels_N: torch.Tensor
    keys_N: torch.Tensor
    folds_N: torch.Tensor
    groups: Groups
    positions_N: torch.Tensor
    targets_NT: torch.Tensor
    chosen: tuple[str, ...]
    ids: tuple[str, ...]
    geometry: str
    skipped: tuple[str, ...]
    labels_NL: torch.Tensor | None = None
    beside: Beside = Beside()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def total(self) -> int:
        """How many samples were chosen."""
        return len(self.chosen)

    def of_folds(self, wanted: Sequence[int]) -> Decoded:
        """Its samples of these folds."""
        kept_M = torch.isin(self.folds_N, torch.tensor(wanted)).nonzero()[:, 0]
        beside = Beside(*(None if part is None else part[kept_M] for part in (
            self.beside.regions_NHW, self.beside.bare_NCHW, self.beside.clean_NCHW, self.beside.added_NR)))  # fmt: skip
        return replace(
            self, images_NCHW=self.images_NCHW[kept_M], labels_N=self.labels_N[kept_M], keys_N=self.keys_N[kept_M],
            folds_N=self.folds_N[kept_M], groups=replace(self.groups, members_NA=self.groups.members_NA[kept_M]),
            positions_N=self.positions_N[kept_M], targets_NT=self.targets_NT[kept_M],
            ids=tuple(self.ids[index] for index in kept_M.tolist()), beside=beside,
            labels_NL=None if self.labels_NL is None else self.labels_NL[kept_M],
        )  # fmt: skip

    def tiles(self, tile: int, device: torch.device) -> Iterator[Batch]:
        """Batches of exactly `tile` samples on `device`; the last is padded."""
        for start in range(0, len(self), tile):
            stop = min(start + tile, len(self))
            yield self._batch(slice(start, stop), tile, device)

    def _batch(self, part: slice, tile: int, device: torch.device) -> Batch:
        size = part.stop - part.start

        def padded(values: torch.Tensor, fill: int = 0) -> torch.Tensor:
            rows = values[part]
            if size < tile:
                rows = torch.cat([rows, rows.new_full((tile - size, *rows.shape[1:]), fill)])
            return rows.to(device, non_blocking=True)

        return Batch(
            padded(self.images_NCHW), padded(self.labels_N), padded(self.keys_N), padded(self.folds_N, FOLDS),
            padded(self.groups.members_NA, len(self.groups.names)).T, size,
            padded(self.positions_N, self.total), padded(self.targets_NT),
            *(None if images is None else padded(images) for images in self._beside),
        )  # fmt: skip

    @property
    def _beside(self) -> tuple[torch.Tensor | None, ...]:
        of = self.beside
        return of.clean_NCHW, of.regions_NHW, of.bare_NCHW, of.added_NR, self.labels_NL


def choose(data: ShardSet, max_samples: int | None = None, seed: int = 0) -> list[Sample]:
    """The samples of a set, or a nested class-stratified subset of `max_samples`, in stored order.

    Raises UsageError for a number below 1.
    """
    if max_samples is not None and max_samples < 1:
        raise UsageError(f"max_samples is {max_samples}; expected 1 or more, or None for all.")
    samples = list(data.samples())
    if max_samples is None or max_samples >= len(samples):
        return samples
    keys = sample_keys([sample.id for sample in samples])
    labels = np.array([sample.label for sample in samples])
    return [samples[index] for index in sorted(nested_order(keys, labels, seed)[:max_samples].tolist())]


def decode(
    data: ShardSet, samples: list[Sample], *, tile: int | None = None, by: Sequence[str] = (), skip_bad: bool = False,
    geometry: Geometry = IMAGENET, progress: Progress = silent, part: Part = WHOLE,
) -> Decoded:  # fmt: skip
    """Decode `samples`; with a tile, only this rank's share of this part: of as many tiles as there are ranks, one.

    by: attributes, or `label`, that samples are grouped by. Raises InputError naming the sample that
    cannot be decoded, unless `skip_bad`; then it is left out and its message kept in `skipped`.
    """
    rank, ranks = part.share() if tile else (0, 1)
    chosen, step = tuple(sample.id for sample in samples), tile or 1
    mine = [position for position in range(len(chosen)) if position // step % ranks == rank]
    samples = [samples[position] for position in mine]
    with verify(data, samples, world() if tile else (0, 1)):  # a part believes no other one's tars
        images, kept, skipped = _decode_all(data, samples, skip_bad, geometry, progress)
    if not kept and (ranks == 1 or not chosen):
        raise InputError(f"{data.folder}: no sample could be decoded.")
    keys = sample_keys([sample.id for sample in kept])
    return Decoded(
        manifest=data.manifest,
        images_NCHW=torch.from_numpy(images[: len(kept)]),
        labels_N=torch.tensor([sample.label for sample in kept], dtype=torch.int64),
        keys_N=torch.from_numpy(keys.view(np.int64)),
        folds_N=torch.from_numpy(folds(keys)),
        groups=group(data.manifest, kept, by),
        positions_N=_positions(mine, samples, kept),
        targets_NT=_targets(data.manifest, kept),
        chosen=chosen,
        ids=tuple(sample.id for sample in kept),
        geometry=pixels.in_words(data.manifest, geometry),
        skipped=tuple(skipped),
        labels_NL=padded([sample.labels for sample in kept]) if data.manifest.labels > 1 else None,
    )


def _decode_all(
    data: ShardSet, samples: Sequence[Sample], skip_bad: bool, geometry: Geometry, progress: Progress
) -> tuple[np.ndarray, list[Sample], list[str]]:
    manifest = data.manifest
    height, width = pixels.side(manifest, geometry)
    images = _buffer((len(samples), manifest.channels, height, width))
    kept: list[Sample] = []
    skipped: list[str] = []

    def attempt(sample: Sample) -> np.ndarray | InputError:
        try:
            return pixels.decode(data, sample, geometry)
        except UnreadableError:
            raise
        except InputError as error:
            return error

    threads = (os.cpu_count() or 1) if height * width > THREADED_PIXELS else 0
    with ThreadPoolExecutor(threads or 1) as pool:
        for start in range(0, len(samples), CHUNK):
            chunk = samples[start : start + CHUNK]
            for sample in chunk:
                _ = sample.image  # fetched here, where a signal ends it, and not in a thread
            results = pool.map(attempt, chunk) if threads else map(attempt, chunk)
            for sample, result in zip(chunk, results, strict=True):
                if isinstance(result, InputError):
                    if not skip_bad:
                        raise InputError(f"{result} Mend it, or leave such images out with --skip-bad.")
                    skipped.append(str(result))
                else:
                    images[len(kept)] = result
                    kept.append(sample)
            progress(f"decoding {manifest.name}", min(start + CHUNK, len(samples)), len(samples))
    return images, kept, skipped


def _buffer(shape: tuple[int, ...]) -> np.ndarray:
    if np.prod(shape, dtype=float) <= memory_bytes() * MEMORY_SHARE:
        return np.empty(shape, np.uint8)
    size = int(np.prod(shape, dtype=np.int64))
    with tempfile.TemporaryFile(prefix="vhs-") as scratch:  # without a name; the mapping outlives the handle
        try:
            os.posix_fallocate(scratch.fileno(), 0, size)  # or a full disk would end the process at some later write
        except OSError as error:
            raise VhsError(
                f"{tempfile.gettempdir()}: has no room for {size / 2**30:.1f} GiB of decoded images: {error.strerror}. "
                f"Name another folder in $TMPDIR, or take --max-samples."
            ) from error
        return np.memmap(scratch, np.uint8, mode="r+", shape=shape)


def _positions(mine: Sequence[int], samples: Sequence[Sample], kept: Sequence[Sample]) -> torch.Tensor:
    """int64: the places of the kept ones of this rank's samples."""
    place = {sample.id: position for position, sample in zip(mine, samples, strict=True)}
    return torch.tensor([place[sample.id] for sample in kept], dtype=torch.int64)


def answers(manifest: Manifest, samples: Sequence[Sample]) -> torch.Tensor:
    """int64 [N]: labels; or float32 [N, T]: standardised targets."""
    if manifest.targets:
        return _targets(manifest, samples)
    return torch.tensor([sample.label for sample in samples], dtype=torch.int64)


def _targets(manifest: Manifest, kept: Sequence[Sample]) -> torch.Tensor:
    """float32 [N, T], standardised by the training split's mean and deviation, which the manifest records."""
    stats = manifest.extra.get("target_stats", {})
    numbers = torch.tensor([sample.targets for sample in kept], dtype=torch.float64).view(
        len(kept), len(manifest.targets)
    )
    for index, name in enumerate(manifest.targets):
        mean, deviation = stats.get(name, (0.0, 1.0))
        numbers[:, index] = (numbers[:, index] - mean) / deviation
    return numbers.float()
