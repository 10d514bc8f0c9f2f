"""What stands in for a removed head: nothing, what it gives on average, for another image, or with other attention.

The average and the donors come from a bank: images that are not scored, run once through the
intact model, with what each projection receives kept.

Letters: M images of the bank, B scored images, R rows of a projection's input for one image, H heads, N tokens,
K = H * features a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vhs.batch import Batch
from vhs.errors import MismatchError
from vhs.measures.fill_kinds import FillKind
from vhs.models import seam
from vhs.models.engine import Fill, zero
from vhs.models.hooks import hook_before, keep_input
from vhs.models.model import Model

DONORS = 64
"""Images whose head outputs are kept whole for `resample`."""


class Bank:
    """Head outputs of fill images.

    `mean` is the average at each position, `mean-flat` one vector, the average over positions too: the only kind,
    with zero, that folds into the projection's bias. `resample` takes a donor of the bank, chosen by the
    sample's hash, never a batch-mate. maps_HNN: for each layer the average attention, where asked for.
    """

    def __init__(self, model: Model, batches_BCHW: Iterable[Tensor], *, maps: bool = False) -> None:
        """batches_BCHW: uint8 images at the data's geometry, all of one batch size. maps: whether to average maps."""
        batches_BCHW = list(batches_BCHW)
        self._axes = [place.axis for place in model.engine.seams]
        self._sums: list[Tensor] = []
        self._donors: list[list[Tensor]] = []
        self._count = 0
        for images in batches_BCHW:
            self._add(model, images)
        self.maps_HNN = _mean_maps(model, batches_BCHW) if maps else []
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


def spread(model: Model, images_BCHW: Tensor, maps_HNN: Sequence[Tensor] | None = None) -> Fill:
    """Each head's own values on these images, averaged by maps_HNN (one a layer) instead of its attention.

    None: by 1 / N over all tokens.
    """
    inputs = _attention_inputs(model, images_BCHW)

    def fill(layer: int, _rows: int) -> Tensor:
        attn = seam.attention(seam.blocks(model.net)[layer])
        with torch.inference_mode(), model.autocast():
            values_BHNW = seam.values(attn, inputs[layer])
            if maps_HNN is None:
                return values_BHNW.mean(2).flatten(1)[:, None]
            return (maps_HNN[layer].to(values_BHNW) @ values_BHNW).transpose(1, 2).flatten(2)

    return fill


def fill_of(kind: FillKind, model: Model, bank: Bank | None, batch: Batch) -> Fill:
    """The fill for the samples of a batch. bank: for those that need one."""
    assert bank is not None or not kind.bank, f"{kind.name} without a bank"
    return MAKERS[kind.name](model, bank, batch)


def check_values(model: Model) -> None:
    """Raises MismatchError for a network whose values and maps are not at hand."""
    if model.plain is None or not all(seam.averages_values(seam.attention(b)) for b in seam.blocks(model.plain)):
        raise MismatchError(
            f"{model.name}: --fill uniform and mean-map are of timm's plain VisionTransformer, without norm or gate "
            f"between attention and projection."
        )


def _attention_inputs(model: Model, images_BCHW: Tensor) -> list[Tensor]:
    """What each attention of a plain ViT receives in a pass over these images."""
    return _inputs(model, [seam.attention(block) for block in seam.blocks(model.net)], images_BCHW)


def _mean_maps(model: Model, batches_BCHW: Sequence[Tensor]) -> list[Tensor]:
    """For each layer the average attention [H, N, N] over all images."""
    sums: list[Tensor] = []
    for images in batches_BCHW:
        inputs = _attention_inputs(model, images)
        with torch.inference_mode(), model.autocast():
            parts = [
                seam.attention_maps(seam.attention(block), tokens).double().sum(0)
                for block, tokens in zip(seam.blocks(model.net), inputs, strict=True)
            ]
        sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
    count = sum(map(len, batches_BCHW))
    return [(total / count).float() for total in sums]


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


MAKERS: dict[str, Callable[[Model, Any, Batch], Fill]] = {
    "zero": lambda _model, _bank, _batch: zero,
    "mean": lambda _model, bank, _batch: bank.mean(flat=False),
    "mean-flat": lambda _model, bank, _batch: bank.mean(flat=True),
    "resample": lambda _model, bank, batch: bank.donors(batch.keys_B),
    "uniform": lambda model, _bank, batch: spread(model, batch.images_BCHW),
    "mean-map": lambda model, bank, batch: spread(model, batch.images_BCHW, bank.maps_HNN),
    "twin": lambda model, _bank, batch: twin(model, _clean(batch)),
    "twin-break": lambda model, _bank, batch: twin(model, batch.images_BCHW),
}
"""By name of a fill_kinds.FILLS; the bank is there for those whose row asks for one."""
