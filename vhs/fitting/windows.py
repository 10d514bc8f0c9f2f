"""Training on a set that lies elsewhere: its tars drawn in windows, each fetched before it is read.

Letters: N training samples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vhs.errors import UsageError
from vhs.formats.shards import ShardSet
from vhs.formats.tar_cache import GIGABYTE, LIMIT
from vhs.formats.tars import CachedTars
from vhs.training.recipe import Recipe


def tars_of(data: ShardSet, places_N: Tensor, recipe: Recipe) -> Tensor | None:
    """int64 [N]: the number of the tar of each sample, by its place in stored order; None without windows."""
    return _tars(data, places_N) if recipe.tar_window else None


def _tars(data: ShardSet, places_N: Tensor) -> Tensor:
    ends = np.cumsum([entry.samples for entry in data.manifest.tars])
    return torch.from_numpy(np.searchsorted(ends, places_N.numpy(), side="right"))


def ahead_of(data: ShardSet, recipe: Recipe) -> Ahead | None:
    """What fetches tars before their samples are read; None for a set on disk.

    Raises UsageError for tars that the cache cannot hold as long as they are drawn from.
    """
    return Ahead(data, data.tars, recipe) if isinstance(data.tars, CachedTars) else None


class Ahead:
    """Fetches tars before their samples are read. lead: updates ahead."""

    def __init__(self, data: ShardSet, tars: CachedTars, recipe: Recipe) -> None:
        self._data, self._tars = data, tars
        self._asked: OrderedDict[int, None] = OrderedDict()
        count = len(data.manifest.tars)
        self._together = min(2 * recipe.tar_window, count) or count  # one window is read, the next one fetched
        self._check(tars.limit)
        self.lead = max(1, recipe.updates_per_epoch(data.manifest.samples) * self._together // (2 * count))
        tars.in_order = False

    def coming(self, positions: Sequence[int]) -> None:
        """Begin to fetch the tars of samples that are read soon."""
        wanted = sorted(set(_tars(self._data, torch.tensor(positions)).tolist()) - set(self._asked))
        for number in wanted:
            self._asked[number] = None
            if len(self._asked) > self._together:
                self._asked.popitem(last=False)
        if wanted:
            self._tars.fetch([self._data.manifest.tars[number] for number in wanted])

    def _check(self, limit: int) -> None:
        sizes = sorted((entry.bytes for entry in self._data.manifest.tars), reverse=True)
        needed = sum(sizes[: self._together])
        if needed <= limit:
            return
        window = max(1, int(limit // (2 * sizes[0])))
        raise UsageError(
            f"{self._data.folder}: {needed / GIGABYTE:.1f} GB of tars are drawn from at a time, the cache may hold "
            f"{limit / GIGABYTE:g}. Draw them in windows with --set tar_window={window}, or allow more in ${LIMIT}."
        )
