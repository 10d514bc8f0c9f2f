"""What is drawn of a model on a few images: maps, rollout, relevance, activity, as arrays by image.

Letters: S images, H heads, G heads of the model, N tokens, P patches, D displacements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.measures import offsets, rollout
from vhs.measures.direct import direct_scores
from vhs.measures.observation import Observation, Observer
from vhs.measures.region_tally import activity_of
from vhs.measures.scoring import View
from vhs.models.model import Model
from vhs.models.tokens import CLASS, GLOBAL

Arrays = dict[tuple[str, int | None], np.ndarray]
"""(kind, layer or None) -> [S, …]."""


@dataclass(frozen=True)
class Looked:
    """aligned: by layer the sum over images of the aligned maps, [H, 2 rows - 1, 2 columns - 1]; logits: [S, C]."""

    arrays: Arrays
    aligned: dict[int, Tensor]
    logits: Tensor


class Looks:
    """Of one model. layers: those whose maps can be laid over an image; through: whether rollout goes through all."""

    def __init__(self, model: Model, *, whole: bool, activity: int) -> None:
        self.model, self._whole, self._activity = model, whole, activity
        self.observer = Observer(model)
        layouts = self.observer.layouts
        shown = zip(layouts, model.grid.per_layer, strict=True)
        self.layers = [i for i, (layout, heads) in enumerate(shown) if layout.kind == GLOBAL and layout.grid and heads]
        self.through = bool(self.layers) and all(layout == layouts[0] for layout in layouts)

    def of(self, batch: Batch, goals_S: Tensor, view: View | None) -> Looked:
        """goals: the output that relevance is of, -1 for the answer; view: whose classes the batch's labels are of,
        None where none are known."""
        pixels = self.model.preprocess(batch.images_BCHW)
        seen = self.observer.see(pixels)
        found: Arrays = {("images", None): batch.images_BCHW.permute(0, 2, 3, 1).cpu().numpy()}
        for index in self.layers:
            layer = seen.layers[index]
            found["maps", index] = _half(layer.weights_RHQK if self._whole else layer.row_of(None)[:, :, None])
            if layer.weighted is not None:
                found["weighted", index] = _half(layer.weighted.row_BHN[:, :, None])
        if self.through:
            found["rollout", None] = _half(self._carried(seen, rollout.rollout([x.weights_RHQK for x in seen.layers])))
            goals = torch.where(goals_S < 0, seen.logits_BC.argmax(1), goals_S)
            found["relevance", None] = _single(self._relevance(seen, pixels, goals))
        if self._activity:
            grid = self.observer.layouts[self.layers[-1]].grid
            assert grid is not None
            levels = activity_of(seen.layers, grid, self._activity).view(-1, *grid)
            found["activity", None] = levels.byte().cpu().numpy()
        scores = None if view is None else direct_scores(seen, self.model, view, batch)
        if scores is not None:
            found["direct", None] = _single(scores.T)
        aligned = {index: self._square(index, offsets.aligned(seen.layers[index]).sum(0)) for index in self.layers}
        return Looked(found, aligned, seen.logits_BC)

    def _relevance(self, seen: Observation, pixels: Tensor, goals_S: Tensor) -> Tensor:
        gradients = self.observer.gradients(pixels, goals_S)
        joint = rollout.relevance([layer.weights_RHQK for layer in seen.layers], gradients)
        return self._carried(seen, joint - torch.eye(joint.shape[-1], device=joint.device))  # what a patch is to itself

    def _carried(self, seen: Observation, joint_SNN: Tensor) -> Tensor:
        """[S, P]: what patches give the class token, or, without one, the patches' mean."""
        layer = seen.layers[0]
        rows = joint_SNN[:, 0] if CLASS in layer.layout.special else joint_SNN[:, layer.special :].mean(1)
        return rows[:, layer.special :]

    def _square(self, index: int, sums_HD: Tensor) -> Tensor:
        grid = self.observer.layouts[index].grid
        assert grid is not None
        return sums_HD.view(-1, 2 * grid[0] - 1, 2 * grid[1] - 1)


def outputs_of(classes: Sequence[str], model: Model) -> Tensor:
    """int64 [C]: the model's output for each of the data's classes, -1 where it has none."""
    place = {name: index for index, name in enumerate(model.classes)}
    return torch.tensor([place.get(name, -1) for name in classes], dtype=torch.int64, device=model.device)


def _half(values: Tensor) -> np.ndarray:
    return values.half().cpu().numpy()


def _single(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy()
