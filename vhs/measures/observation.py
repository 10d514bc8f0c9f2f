"""What every measure of attention looks at: a model's layers on some images.

Letters: B images, R images times windows, H heads, Q queries, K keys, T tokens, W features a head.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vhs.measures.layer import Layer
from vhs.models import circuits
from vhs.models.hooks import hook_before, keep_input
from vhs.models.maps import MapReader, Watched, passes_averages_on
from vhs.models.model import Model
from vhs.models.tokens import tokens_first


@dataclass(frozen=True)
class Observation:
    """A model on B images. heads_BNK: for each layer what its projection receives; residual_BND: what the final norm
    does; logits_BC."""

    layers: list[Layer]
    heads: list[Tensor]
    residual_BND: Tensor | None
    logits_BC: Tensor


class Observer:
    """Observes a model, one pass a call. Raises MismatchError naming a layer without a map over tokens.

    ranks: for each layer what `circuits.ranks` knows of its weights.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        pixels = model.noise().to(model.device)
        seams = model.engine.seams
        self._reader = MapReader(model.net, seams, pixels)  # in float32: what is compared must not be rounded
        self.layouts = self._reader.layouts
        written = [circuits.output_matrices(model.net, seam) for seam in seams]
        self._roots = [None if matrices is None else circuits.roots(matrices) for matrices in written]
        self._bare = [passes_averages_on(seam, seen) for seam, seen in self._pairs()]
        self.ranks = [
            circuits.ranks(seam, seen, matrices if bare else None)
            for (seam, seen), matrices, bare in zip(self._pairs(), written, self._bare, strict=True)
        ]
        self.probe = self.see(pixels)

    def see(self, pixels_BCHW: Tensor) -> Observation:
        """One pass over preprocessed images, without gradients."""
        ended: list[Tensor] = []
        with ExitStack() as stack, torch.inference_mode(), self.model.autocast():
            if self.model.plain is not None:
                stack.enter_context(hook_before(self.model.plain.norm, partial(keep_input, ended)))
            watched, logits = self._reader.watch(pixels_BCHW)
        layers = [self._layer(index, seen, len(pixels_BCHW)) for index, seen in enumerate(watched)]
        return Observation(layers, [seen.arrived for seen in watched], ended[0] if ended else None, logits)

    def gradients(self, pixels_BCHW: Tensor, targets_B: Tensor) -> list[Tensor]:
        """[R, H, Q, K] of each layer: of the target's logit with respect to the map.

        A map is only used to average values, so its gradient is that of the average times the values, and fused
        attention, which makes no map, need not be left.
        """
        with torch.enable_grad():
            watched, logits = self._reader.watch(pixels_BCHW.detach().clone().requires_grad_())  # weights may be frozen
            chosen = logits.gather(1, targets_B[:, None]).sum()
            of_averages = torch.autograd.grad(chosen, [seen.average for seen in watched])
        with torch.no_grad():
            return [grad.float() @ seen.values_RHKW.float().mT for grad, seen in zip(of_averages, watched, strict=True)]

    def _layer(self, index: int, seen: Watched, images: int) -> Layer:
        root_HWW = self._roots[index]
        carried = written = None
        if root_HWW is not None:
            heads = self.model.engine.seams[index].by_head(seen.arrived).float()
            written = torch.einsum("bthw,hwv->bthv", tokens_first(heads, images), root_HWW)
            if self._bare[index]:
                carried = (seen.values_RHKW.float() @ root_HWW).square().sum(-1).sqrt()
        return Layer(self.layouts[index], images, seen.weights_RHQK, carried, written, seen.residual)

    def _pairs(self):  # type: ignore[no-untyped-def]
        return zip(self.model.engine.seams, self._reader.probe, strict=True)
