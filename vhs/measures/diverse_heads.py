"""How differently the heads of one layer answer: how often what they give the logits names different classes, and how
far the directions of their input that they answer to coincide.

Letters: B images, G heads of the model, H of a layer, J pairs, C classes, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vhs.counts import Counts
from vhs.grid import HeadGrid
from vhs.measures import head_gradients
from vhs.measures.scoring import MOMENTS, Tally, moments
from vhs.models.model import Model
from vhs.models.taps import Tapped


class Disagreement:
    """Tallies of whether two heads of a layer give most to different classes."""

    def __init__(self, grid: HeadGrid, device: torch.device) -> None:
        self.pairs = in_layers(grid)
        sides = torch.tensor(self.pairs, dtype=torch.int64).view(-1, 2).to(device, non_blocking=True)
        self._first, self._second = sides.unbind(1)
        self._tally = Tally((len(self.pairs),), MOMENTS, device)

    def add(self, given_GBC: Tensor, folds_B: Tensor) -> None:
        """given: what each head gives the logits that are answered among; NaN of heads that have no direct way."""
        answer_GB = given_GBC.argmax(-1)
        answer_GB = torch.where(given_GBC.isnan().any(-1), torch.nan, answer_GB.double())
        first_JB, second_JB = answer_GB[self._first], answer_GB[self._second]
        differ_JB = torch.where(first_JB.isnan() | second_JB.isnan(), torch.nan, (first_JB != second_JB).double())
        self._tally.add(folds_B, moments(differ_JB))

    def counts(self) -> dict[str, Counts]:
        """disagreement: [J, FOLDS, MOMENTS]."""
        return {"disagreement": self._tally.counts()}


class GradientOverlap:
    """Tallies of the squared cosines of two heads' input gradients, times the width: 1 for directions by chance.

    Of timm's plain ViT; others have no rows.
    """

    def __init__(self, model: Model) -> None:
        self.pairs = in_layers(model.grid) if model.plain is not None else []
        self._model = model
        self._layers = [layer for layer, heads in enumerate(model.grid.per_layer) if heads]
        self._tally = Tally((len(self.pairs),), MOMENTS, model.device)

    def add(self, images_BCHW: Tensor, folds_B: Tensor) -> None:
        """One more pass and half a pass back, with gradients with respect to what is inside."""
        if not self.pairs:
            return
        with torch.inference_mode(False), torch.enable_grad():
            pixels = self._model.preprocess(images_BCHW.clone()).requires_grad_()  # the weights are frozen
            overlaps = self._overlaps(pixels)
        found = []
        for overlap_BHH in overlaps:
            heads = overlap_BHH.shape[1]
            rows, columns = torch.triu_indices(heads, heads, 1, device=overlap_BHH.device)
            found.append(overlap_BHH.detach()[:, rows, columns].T)
        values_JB = torch.cat(found) * self._width
        self._tally.add(folds_B, moments(values_JB))

    def counts(self) -> dict[str, Counts]:
        """gradients: [J, FOLDS, MOMENTS]."""
        return {"gradients": self._tally.counts()}

    @property
    def _width(self) -> int:
        assert self._model.plain is not None
        return self._model.plain.embed_dim

    def _overlaps(self, pixels_BCHW: Tensor) -> list[Tensor]:
        assert self._model.plain is not None
        tapped = Tapped(self._model.plain, head_gradients.taps(self._layers))
        try:
            with self._model.autocast():
                logits, seen = tapped(pixels_BCHW)
            found = head_gradients.directions(self._model.plain, logits, seen, self._layers, again=False)
        finally:
            tapped.remove()
        return [head_gradients.overlaps(of_layer) for of_layer in found]


def in_layers(grid: HeadGrid) -> list[tuple[int, int]]:
    """Places in the grid of each two heads of a layer, layer by layer."""
    return [
        (grid.first(layer) + a, grid.first(layer) + b)
        for layer, count in enumerate(grid.per_layer)
        for a in range(count)
        for b in range(a + 1, count)
    ]
