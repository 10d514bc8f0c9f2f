"""Batches of an epoch, from any update on: in memory on the device, or read and augmented one by one by workers.

The order of an epoch belongs to (seed, epoch); of every batch each process takes its rows, in mirrored pairs, so that
mixup, which pairs row i with row B - 1 - i, mixes the same samples on any number of processes.

Letters: N training samples, B samples of an update over all processes, b those of this process, C channels, H height,
W width, T targets.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vhs.errors import UsageError, VhsError
from vhs.seeds import hash64, seed_generators
from vhs.training.augmentation import repeat_keys
from vhs.training.recipe import Recipe
from vhs.world import world


class Examples(NamedTuple):
    """One process's part of an update. keys_B: the samples' keys, another for each version of one image."""

    images_BCHW: Tensor
    answers_B: Tensor
    keys_B: Tensor


class Samples(NamedTuple):
    """The training split on the device but for its images: keys_N int64; answers_N: labels int64, or targets_NT;
    tars_N: int64 on the host, which tar each sample lies in, where tars are drawn in windows."""

    answers_N: Tensor
    keys_N: Tensor
    tars_N: Tensor | None = None

    def with_images(self, images_BCHW: Tensor, chosen_B: Tensor, versions_B: Tensor) -> Examples:
        """These samples, with the images of these versions of them."""
        return Examples(images_BCHW, self.answers_N[chosen_B], repeat_keys(self.keys_N[chosen_B], versions_B))


class Feed(Protocol):
    """Batches from update `start` of an epoch on."""

    @property
    def samples(self) -> Samples: ...

    def epoch(self, epoch: int, start: int) -> Iterator[Examples]: ...


def rows(batch: int) -> Tensor:
    """int64 [b]: which rows of a batch are this process's; mirrored pairs where there are several."""
    rank, ranks = world()
    if ranks == 1:
        return torch.arange(batch)
    if batch % (2 * ranks):
        raise UsageError(
            f"batch {batch} cannot be shared in pairs by {ranks} processes. Set a multiple of {2 * ranks}."
        )
    half = batch // (2 * ranks)
    first = torch.arange(rank * half, (rank + 1) * half)
    return torch.cat([first, (batch - 1 - first).flip(0)])


def order(recipe: Recipe, epoch: int, count: int, tars_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(sample positions [N], which version of the image [N]) in the order of this epoch.

    With tars_N tars come in an order of the epoch, too, and samples are shuffled within every `tar_window` of them, so
    that no more tars than these are read at a time.

    With repeats (Hoffer et al. 2020, arXiv:1901.09335) the versions of an image follow each other, and an epoch still
    has N samples, so that it meets N / repeats images, as DeiT's sampler does.
    """
    generator = torch.Generator().manual_seed(hash64(recipe.seed, "order", epoch) & (2**63 - 1))
    images = torch.randperm(count, generator=generator)
    if tars_N is not None and recipe.tar_window:
        windows_T = torch.randperm(int(tars_N.max()) + 1, generator=generator) // recipe.tar_window
        images = images[windows_T[tars_N[images]].argsort(stable=True)]
    if recipe.repeats == 1:
        return images, torch.zeros_like(images)
    versions = torch.arange(recipe.repeats).repeat(count)
    return images.repeat_interleave(recipe.repeats)[:count], versions[:count]


@dataclass(frozen=True)
class Resident:
    """All images on the device, uint8."""

    recipe: Recipe
    samples: Samples
    images_NCHW: Tensor

    def epoch(self, epoch: int, start: int) -> Iterator[Examples]:
        """The batches of this process from update `start` of the epoch on."""
        device = self.images_NCHW.device
        for chosen, versions in _batches(self.recipe, epoch, start, self.samples, device):
            yield self.samples.with_images(self.images_NCHW[chosen], chosen, versions)


@dataclass(frozen=True)
class Streamed:
    """Images read when they are needed. read: position -> uint8 [C, H, W], augmented; called in workers; coming: told
    positions some time before they are read, `lead` updates ahead."""

    recipe: Recipe
    samples: Samples
    read: Callable[[int], np.ndarray]
    workers: int
    coming: Callable[[Sequence[int]], None] | None = None
    lead: int = 0

    def epoch(self, epoch: int, start: int) -> Iterator[Examples]:
        """The batches of this process from update `start` of the epoch on."""
        device = self.samples.keys_N.device
        on_host, on_device = (_batches(self.recipe, epoch, start, self.samples, at) for at in (None, device))
        tasks = [list(zip(chosen.tolist(), versions.tolist(), strict=True)) for chosen, versions in on_host]
        loader: Any = DataLoader(
            _Reader(self, epoch), batch_sampler=tasks, num_workers=self.workers, collate_fn=_stack,  # type: ignore[arg-type]
            pin_memory=device.type == "cuda", multiprocessing_context="fork" if self.workers else None,
            worker_init_fn=_prepare_worker,
        )  # fmt: skip
        self._announce(tasks[: self.lead])
        for step, ((chosen, versions), images) in enumerate(zip(on_device, loader, strict=True), self.lead):
            self._announce(tasks[step : step + 1])
            if isinstance(images, VhsError):
                raise images
            yield self.samples.with_images(images.to(device, non_blocking=True), chosen, versions)

    def _announce(self, tasks: Sequence[Sequence[tuple[int, int]]]) -> None:
        if self.coming is not None and tasks:
            self.coming([position for batch in tasks for position, _ in batch])


@dataclass(frozen=True)
class _Reader:
    """What a worker does: read a sample with every draw of (seed, epoch, sample, version)."""

    feed: Streamed
    epoch: int

    def __getitem__(self, task: tuple[int, int]) -> np.ndarray | VhsError:
        position, version = task
        try:
            with seed_generators(self.feed.recipe.seed, "read", self.epoch, position, version):
                return self.feed.read(position)
        except VhsError as error:
            return error


def _stack(images: list[np.ndarray | VhsError]) -> Tensor | VhsError:
    """The images of a batch, or the error of the first that could not be read."""
    wrong = next((image for image in images if isinstance(image, VhsError)), None)
    return wrong or torch.from_numpy(np.stack(images))  # type: ignore[arg-type]


def _prepare_worker(_worker: int) -> None:
    """One thread each; signals are the parent's, which finishes its update and saves."""
    torch.set_num_threads(1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _batches(
    recipe: Recipe, epoch: int, start: int, samples: Samples, device: torch.device | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """(positions [b], versions [b]) of this process; brought to the device once an epoch."""
    count = len(samples.keys_N)
    images, versions = (part.to(device) for part in order(recipe, epoch, count, samples.tars_N))
    batch = min(recipe.batch, count)
    own = rows(batch).to(device)
    for step in range(start, recipe.updates_per_epoch(count)):
        part = slice(step * batch, (step + 1) * batch)
        yield images[part][own], versions[part][own]
