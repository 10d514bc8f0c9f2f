"""Fills that weights can hold: what heads that are taken out leave behind in the projection, their output's mean, or
what the other heads tell of it.

Compensation is the ridge regression of CORP (arXiv:2602.05243) on calibration tokens: with z_R the outputs of the heads
that go and z_K of those that stay, B and b minimise |z_R - B z_K - b|² + ridge |B|²; the projection W becomes
W_K + W_R B, its bias grows by W_R b. For an infinite ridge B is 0 and b the mean: the fill `mean-flat`.

Letters: M images, T tokens, H heads, W features a head, K = H * W, D width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vhs.errors import MismatchError
from vhs.grid import Place
from vhs.measures.fills import projection_inputs
from vhs.measures.pruning_options import WeightFill
from vhs.models import surgery
from vhs.models.model import Model

ZERO = WeightFill()


class Calibration:
    """Means and covariances, float64, of what each projection receives, over all tokens of the fill images."""

    def __init__(self, model: Model, batches_BCHW: Iterable[Tensor]) -> None:
        """batches_BCHW: uint8 images at the data's geometry."""
        self._count = 0
        self._sums: list[Tensor] = []
        self._products: list[Tensor] = []
        for images in batches_BCHW:
            self._add([values.flatten(0, -2).double() for values in projection_inputs(model, images)])

    def mean(self, layer: int) -> Tensor:
        """[K]."""
        return self._sums[layer] / self._count

    def covariance(self, layer: int) -> Tensor:
        """[K, K]."""
        mean = self.mean(layer)
        return self._products[layer] / self._count - mean[:, None] * mean

    def _add(self, tokens: list[Tensor]) -> None:
        if not self._sums:
            self._sums = [part.new_zeros(part.shape[1]) for part in tokens]
            self._products = [part.new_zeros(part.shape[1], part.shape[1]) for part in tokens]
        for part, total, products in zip(tokens, self._sums, self._products, strict=True):
            total += part.sum(0)
            products += part.mT @ part
        self._count += len(tokens[0])


class Pruner:
    """Makes the networks of one model without some heads; a layer that several of them have is made once.

    calibration: for fills other than `zero`; among: layers whose heads may go, counted from the end below 0, empty for
    all. Raises MismatchError for a model none of whose heads can be taken out, and for layers that it does not have.
    """

    def __init__(
        self, model: Model, fill: WeightFill = ZERO, calibration: Calibration | None = None,
        *, among: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.model, self._fill, self._calibration = model, fill, calibration
        self._grid, self._seams = model.engine.grid, model.engine.seams
        self._made: dict[tuple[int, tuple[int, ...]], nn.Module] = {}
        known = surgery.attentions(model.net)
        if [place.path for place in self._seams] != list(known):
            raise MismatchError(f"{model.name}: its attention modules run in another order than they are listed in.")
        reasons = {place.path: surgery.refusal(place.path, known[place.path]) for place in self._seams}
        layers = _layers(model.name, among, len(self._seams))
        self.heads = [
            (head.layer, head.head) for head in self._grid
            if head.layer in layers and reasons[self._seams[head.layer].path] is None
        ]  # fmt: skip
        self.left_alone = next((reason for reason in reasons.values() if reason), None)
        if not self.heads:
            raise MismatchError(f"{model.name}: no head of it can be taken out: {self.left_alone or 'none are left'}.")

    def without(self, removed: Iterable[Place]) -> nn.Module:
        """The network without these heads, sharing all other weights. Raises MismatchError for one it does not have."""
        gone = list(removed)
        net = surgery.copy_sharing_weights(self.model.net)
        for layer in sorted({layer for layer, _ in gone}):
            numbers = self._grid.numbers(layer)
            kept = tuple(number for number in numbers if (layer, number) not in gone)
            if (layer, kept) not in self._made:
                self._made[layer, kept] = self._layer(layer, kept)
            net.set_submodule(self._seams[layer].path, self._made[layer, kept])
        return net.eval()

    def _layer(self, layer: int, kept: tuple[int, ...]) -> nn.Module:
        place, numbers = self._seams[layer], list(self._grid.numbers(layer))
        stay = [numbers.index(number) for number in kept]
        fewer = surgery.of_fewer(self.model.net, place.path, stay, kept)
        if self._fill.kind != "zero":
            whole = cast(nn.Linear, place.projection)
            if whole.bias is None:
                raise MismatchError(f"{self.model.name}: the projection of {place.path} has no bias to fill.")
            go = [position for position in range(len(numbers)) if position not in stay]
            surgery.change(cast(nn.Linear, fewer.proj), *self._filled(layer, whole, stay, go))
        return fewer

    def _filled(self, layer: int, whole: nn.Linear, stay: list[int], go: list[int]) -> tuple[Tensor, Tensor]:
        """(weight [D, K of those that stay], bias [D]) of the projection."""
        assert self._calibration is not None and whole.bias is not None
        width = whole.in_features // len(self._grid.numbers(layer))
        kept, gone = (_features(part, width, whole.weight.device) for part in (stay, go))
        weight, mean = whole.weight.double(), self._calibration.mean(layer)
        of_kept, of_gone = weight[:, kept], weight[:, gone]
        bias = whole.bias.double() + of_gone @ mean[gone]
        if self._fill.kind == "compensate" and len(kept):
            told = _told(self._calibration.covariance(layer), kept, gone, self._fill.ridge)
            of_kept, bias = of_kept + of_gone @ told, bias - of_gone @ (told @ mean[kept])
        return of_kept.to(whole.weight), bias.to(whole.weight)


def _told(covariance_KK: Tensor, kept: Tensor, gone: Tensor, ridge: float) -> Tensor:
    """[K of those that go, K of those that stay]: B."""
    of_kept = covariance_KK[kept][:, kept]
    scale = ridge * of_kept.diagonal().mean() + torch.finfo(torch.float64).tiny
    damped = of_kept + scale * torch.eye(len(kept), dtype=of_kept.dtype, device=of_kept.device)
    return torch.linalg.solve(damped, covariance_KK[kept][:, gone]).mT


def _features(heads: Sequence[int], width: int, device: torch.device) -> Tensor:
    """Places of the heads' features in what the projection receives."""
    starts = torch.tensor(heads, dtype=torch.int64, device=device)[:, None] * width
    return (starts + torch.arange(width, device=device)).flatten()


def _layers(name: str, among: Sequence[int], depth: int) -> set[int]:
    """The layers that were named, of all without a name."""
    missing = next((layer for layer in among if not -depth <= layer < depth), None)
    if missing is not None:
        raise MismatchError(f"--among {missing}: {name} has layers 0 to {depth - 1}.")
    return {layer % depth for layer in among} or set(range(depth))
