"""What stands in for a removed head: nothing, what it gives on average, for another image, or with other attention.

The average and the donors come from a bank: images that are not scored, run once through the
intact model, with what each projection receives kept.

Letters: M images of the bank, B scored images, R rows of a projection's input for one image, H heads,
K = H * features a head; of maps V windows of an image, Q queries, K keys, D donors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from vhs.batch import Batch
from vhs.measures.fill_kinds import FillKind
from vhs.measures.routes import Routes
from vhs.models.engine import Fill, zero
from vhs.models.hooks import hook_before, keep_input
from vhs.models.model import Model

DONORS = 64
"""Images whose head outputs are kept whole for `resample`."""


class Bank:
    """Head outputs of fill images.

    `mean` is the average at each position, `mean-flat` one vector, the average over positions too: the only kind,
    with zero, that folds into the projection's bias. `resample` takes a donor of the bank, chosen by the
    sample's hash, never a batch-mate. Where maps are asked for, routes: what reads them; mean_maps: for each layer
    their average; donor_maps: those of the first images.
    """

    def __init__(self, model: Model, batches_BCHW: Iterable[Tensor], *, maps: bool = False) -> None:
        """batches_BCHW: uint8 images at the data's geometry, all of one batch size. maps: whether maps are kept."""
        batches_BCHW = list(batches_BCHW)
        self._axes = [place.axis for place in model.engine.seams]
        self._sums: list[Tensor] = []
        self._donors: list[list[Tensor]] = []
        self._count = 0
        for images in batches_BCHW:
            self._add(model, images)
        self.routes = Routes(model) if maps else None
        self.mean_maps, self.donor_maps = _kept_maps(self.routes, batches_BCHW) if self.routes else ([], [])
        self._kept = [torch.cat(parts)[:DONORS] for parts in self._donors]
        self._means = [(total / self._count).float() for total in self._sums]

    def mean(self, *, flat: bool) -> Fill:
        """The average output; flat: over positions too."""
        return partial(self._mean, flat)

    def donors(self, keys_B: Tensor) -> Fill:
        """The outputs for a donor each, chosen by the samples' hashes (int64)."""
        return partial(self._donor_outputs, keys_B % len(self._kept[0]))

    def _add(self, model: Model, images_BCHW: Tensor) -> None:
        received = projection_inputs(model, images_BCHW)
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

    def _donor_outputs(self, donor_B: Tensor, layer: int, rows: int) -> Tensor:
        del rows
        return self._kept[layer][donor_B].flatten(0, 1)


def twin(model: Model, images_BCHW: Tensor) -> Fill:
    """What each head gives for these images themselves: the twins of the ones that are scored, in their order."""
    received = projection_inputs(model, images_BCHW)

    def fill(layer: int, _rows: int) -> Tensor:
        return received[layer]

    return fill


class Filler:
    """Makes the fills of one model, batch by batch. bank: for those that need one.

    Raises MismatchError for fills by other maps where a network's values are not at hand.
    """

    def __init__(self, model: Model, kinds: Sequence[FillKind], bank: Bank | None = None) -> None:
        self._model, self._kinds, self._bank = model, kinds, bank
        known = bank.routes if bank is not None else None
        self._routes = known or (Routes(model) if any(kind.values for kind in kinds) else None)

    def fills(self, batch: Batch, kinds: Sequence[FillKind] | None = None) -> list[Fill]:
        """Of the samples of a batch, for all of its kinds or some."""
        kinds = self._kinds if kinds is None else kinds
        assert all(self._bank is not None for kind in kinds if kind.bank), "a fill without its bank"
        routed = any(kind.values for kind in kinds)
        values = self._routes.values(batch.images_BCHW) if self._routes and routed else []
        return [
            MAKERS[kind.name](self._routes, self._bank, batch, values) if kind.values else
            MAKERS[kind.name](self._model, self._bank, batch) for kind in kinds
        ]  # fmt: skip


def _kept_maps(routes: Routes, batches_BCHW: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """For each layer (the average [1, V, H, Q, K] over all images, that of the first images [D, V, H, Q, K])."""
    sums: list[Tensor] = []
    first: list[list[Tensor]] = []
    wanted, done = routes.donors(), 0
    for images in batches_BCHW:
        maps = routes.maps(images)
        if not sums:
            sums = [torch.zeros_like(part[:1], dtype=torch.float64) for part in maps]
            first = [[] for _ in maps]
        for total, kept, part in zip(sums, first, maps, strict=True):
            total += part.double().sum(0, keepdim=True)
            if done < wanted:
                kept.append(part[: wanted - done])
        done += len(images)
    return [(total / done).float() for total in sums], [torch.cat(kept) for kept in first]


def projection_inputs(model: Model, images_BCHW: Tensor) -> list[Tensor]:
    """What each projection receives in a pass over these images."""
    return _inputs(model, [place.projection for place in model.engine.seams], images_BCHW)


def _inputs(model: Model, modules: Sequence[nn.Module], images_BCHW: Tensor) -> list[Tensor]:
    """What each of these modules receives in a pass over these images, in the order in which they run."""
    kept: list[Tensor] = []
    with ExitStack() as stack, torch.inference_mode(), model.autocast():
        for module in modules:
            stack.enter_context(hook_before(module, partial(keep_input, kept)))
        model.net(model.preprocess(images_BCHW))
    return kept


def _clean(batch: Batch) -> Tensor:
    return batch.images_BCHW if batch.clean_BCHW is None else batch.clean_BCHW


def _donor_maps(routes: Routes, bank: Bank, batch: Batch, values: list[Tensor]) -> Fill:
    donor_B = batch.keys_B % len(bank.donor_maps[0])
    return routes.fill(values, [maps[donor_B] for maps in bank.donor_maps])


MAKERS: dict[str, Callable[..., Fill]] = {
    "zero": lambda _model, _bank, _batch: zero,
    "mean": lambda _model, bank, _batch: bank.mean(flat=False),
    "mean-flat": lambda _model, bank, _batch: bank.mean(flat=True),
    "resample": lambda _model, bank, batch: bank.donors(batch.keys_B),
    "uniform": lambda routes, _bank, _batch, values: routes.fill(values, routes.even),
    "mean-map": lambda routes, bank, _batch, values: routes.fill(values, bank.mean_maps),
    "donor-map": _donor_maps,
    "twin": lambda model, _bank, batch: twin(model, _clean(batch)),
    "twin-break": lambda model, _bank, batch: twin(model, batch.images_BCHW),
}
"""By name of a fill_kinds.FILLS: (model, bank, batch), or for those by other maps (routes, bank, batch, values)."""
