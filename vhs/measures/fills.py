"""What stands in for a removed head: nothing, what it gives on average, or what it gives for another image.

The average and the donors come from a calibration bank: images that are not scored, run once through the
intact model, with what each projection receives kept.

Letters: M images of the bank, B scored images, R rows of a projection's input for one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from vhs.models.discovery import hooked
from vhs.models.engine import Fill, keep_input, zero
from vhs.models.model import Model

FILLS = ("zero", "mean", "mean-flat", "resample", "twin", "twin-break")
BANKED = ("mean", "mean-flat", "resample")
DONORS = 64
"""Images whose head outputs are kept whole for `resample`."""


class Bank:
    """Head outputs of calibration images.

    `mean` is the average at each position, `mean-flat` one vector, the average over positions too: the only kind,
    with zero, that folds into the projection's bias. `resample` takes a donor of the bank, chosen by the
    sample's hash, never a batch-mate.
    """

    def __init__(self, model: Model, batches_BCHW: Iterable[Tensor]) -> None:
        """batches_BCHW: uint8 images at the data's geometry, all of one batch size."""
        self._axes = [axis for _, axis in model.engine.projections()]
        self._sums: list[Tensor] = []
        self._donors: list[list[Tensor]] = []
        self._count = 0
        for images in batches_BCHW:
            self._add(model, images)
        self._kept = [torch.cat(parts)[:DONORS] for parts in self._donors]
        self._means = [(total / self._count).float() for total in self._sums]

    def fill(self, kind: str, keys_B: Tensor) -> Fill:
        """The fill `kind` for samples with these hashes (int64)."""
        if kind == "resample":
            return partial(self._resampled, keys_B % len(self._kept[0]))
        return partial(self._mean, kind == "mean-flat")

    def _add(self, model: Model, images_BCHW: Tensor) -> None:
        received = _received(model, images_BCHW)
        parts = [values.unflatten(0, (len(images_BCHW), -1)).float() for values in received]
        if not self._sums:
            self._sums = [torch.zeros_like(part[0], dtype=torch.float64) for part in parts]
            self._donors = [[] for _ in parts]
        for total, donors, part in zip(self._sums, self._donors, parts, strict=True):
            total += part.double().sum(0)
            if self._count < DONORS:
                donors.append(part)
        self._count += len(images_BCHW)

    def _mean(self, flat: bool, layer: int, rows: int) -> Tensor:
        mean = self._means[layer]
        if flat:
            axis = mean.dim() - 1 if self._axes[layer] == -1 else 1
            return mean.mean([index for index in range(mean.dim()) if index != axis], keepdim=True)
        return mean if len(mean) == 1 else mean.repeat(rows // len(mean), *[1] * (mean.dim() - 1))

    def _resampled(self, donor_B: Tensor, layer: int, rows: int) -> Tensor:
        del rows
        return self._kept[layer][donor_B].flatten(0, 1)


def twin(model: Model, images_BCHW: Tensor) -> Fill:
    """What each head gives for these images themselves: the twins of the ones that are scored, in their order."""
    received = _received(model, images_BCHW)

    def fill(layer: int, _rows: int) -> Tensor:
        return received[layer]

    return fill


def fills(kinds: Sequence[str], bank: Bank | None, keys_B: Tensor) -> list[Fill]:
    """The fills of one batch. bank: needed for all but zero."""
    return [zero if kind == "zero" or bank is None else bank.fill(kind, keys_B) for kind in kinds]


def _received(model: Model, images_BCHW: Tensor) -> list[Tensor]:
    """What each projection receives in a pass over these images."""
    kept: list[Tensor] = []
    with ExitStack() as stack, torch.inference_mode(), model.autocast():
        for projection, _ in model.engine.projections():
            stack.enter_context(hooked(projection, partial(keep_input, kept)))
        model.net(model.preprocess(images_BCHW))
    return kept
