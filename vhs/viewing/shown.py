"""Which images maps are shown of, and what they look like under each condition.

Letters: S images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.errors import MismatchError, UsageError, choices
from vhs.formats import images, pixels, regular
from vhs.formats.shards import ShardSet
from vhs.models.model import Model
from vhs.runs import cache, run
from vhs.runs.conditions import Condition
from vhs.seeds import sample_keys
from vhs.shifts.corruption import MIN_SIDE

MOST_BYTES = 1 << 30
"""Of a picture."""


@dataclass(frozen=True)
class Shown:
    """images: uint8 [S, C, H, W], clean; labels: positions in the data's classes, -1 where none is known; source: the
    set they are from, None for pictures."""

    ids: tuple[str, ...]
    images_SCHW: Tensor
    labels_S: Tensor
    source: ShardSet | None

    def under(self, condition: Condition, seed: int, device: torch.device) -> Batch:
        """All of them under a condition; of a stored one the same samples. Raises MismatchError where it lacks one."""
        if condition.data is None:
            return condition.apply(self._batch(self.images_SCHW, device), seed)
        stored = of_samples(condition.data, self.ids)
        return self._batch(stored.images_SCHW, device)

    def _batch(self, images_SCHW: Tensor, device: torch.device) -> Batch:
        count = len(self.ids)
        none = torch.zeros(count, dtype=torch.int64, device=device)
        keys = torch.from_numpy(sample_keys(self.ids).view(np.int64)).to(device)
        return Batch(images_SCHW.to(device), self.labels_S.to(device), keys, none, none[None], count)


def of_samples(data: ShardSet, ids: Sequence[str], *, skip_bad: bool = False) -> Shown:
    """Samples of a set, in this order. Raises MismatchError for an id that it lacks."""
    wanted = set(ids)
    by_id = {sample.id: sample for sample in data.samples() if sample.id in wanted}
    lacking = next((name for name in ids if name not in by_id), None)
    if lacking is not None:
        some = [sample.id for _, sample in zip(range(3), data.samples(), strict=False)]
        raise MismatchError(f"{data.folder}: has no sample {lacking}. Its samples are {choices(some)}, …")
    decoded = cache.decode(data, [by_id[name] for name in ids], skip_bad=skip_bad)
    return Shown(decoded.ids, decoded.images_NCHW, decoded.labels_N, data)


def of_pictures(paths: Sequence[Path], model: Model, conditions: Sequence[Condition]) -> Shown:
    """Photographs, at the model's own published transform, named after their files.

    Raises InputError for what is no picture, UsageError for two of one name or a stored shift.
    """
    stored = next((condition.name for condition in conditions if condition.data), None)
    if stored is not None:
        raise UsageError(f"--image: pictures are corrupted on the fly; {stored} is a set of others. Drop one of them.")
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        raise UsageError("--image: two pictures have the same name. Rename one, since it is what figures call them.")
    geometry = run.own_geometry(model)
    channels = model.preprocess.channels
    made = [
        pixels.resize_and_crop(images.decode(regular.read(path, MOST_BYTES), channels, str(path)), geometry)
        for path in paths
    ]
    if any(condition.made for condition in conditions) and min(geometry.crop) < MIN_SIDE:
        raise MismatchError(f"--shift: images of {min(geometry.crop)} px are too small; {MIN_SIDE} px are needed.")
    return Shown(tuple(names), torch.from_numpy(np.stack(made)), torch.full((len(made),), -1), None)
