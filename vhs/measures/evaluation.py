"""Accuracy, loss and calibration of one model under one condition.

Letters: B samples, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.measures.scoring import Outcome, Scope, best_of, outcome
from vhs.models.model import Model
from vhs.seeds import FOLDS

FIELDS = ("n", "n_correct", "n_correct5", "loss", "loss_sq", "n_nonfinite")
BINS = 15
"""Equal-width confidence bins of the expected calibration error (Guo et al. 2017)."""
BIN_FIELDS = ("n", "confidence_sum", "n_correct")


class Evaluation:
    """Tallies of one model; `add` batches of one condition, then read `results`."""

    def __init__(self, model: Model, scope: Scope) -> None:
        self.model = model
        self.scope = scope
        self._views = [Scores(FOLDS, model.device) for _ in scope.views]
        self._groups = Scores(len(scope.groups), model.device)

    def add(self, batch: Batch) -> None:
        with torch.inference_mode(), self.model.autocast():
            logits = self.model.net(self.model.preprocess(batch.images_BCHW)).float()
        for view, scores in zip(self.scope.views, self._views, strict=True):
            seen, labels, folds = view.of(logits, batch)
            scores.add(seen, labels, folds)
        seen, labels, _ = self.scope.views[0].of(logits, batch)
        for groups_B in batch.groups_AB:
            self._groups.add(seen, labels, groups_B)

    def results(self) -> dict[str, Counts]:
        """view0, view1, …: int64 [FOLDS, FIELDS]; groups: int64 [G, FIELDS]; losses in 2^-24 nats and nats².
        view0.bins, …, groups.bins: int64 [cells, BINS, BIN_FIELDS]; bin b holds confidences in (b/15, (b+1)/15]."""
        found = {f"view{index}": scores for index, scores in enumerate(self._views)} | {"groups": self._groups}
        return {
            name + suffix: counts
            for name, scores in found.items()
            for suffix, counts in (("", scores.sums()), (".bins", scores.bins()))
        }


class Scores:
    """Sums and confidence bins of samples, by cell; a sample of cell `cells` is not counted."""

    def __init__(self, cells: int, device: torch.device) -> None:
        self.cells = cells
        self._sums = torch.zeros(cells + 1, len(FIELDS), dtype=torch.int64, device=device)
        self._bins = torch.zeros((cells + 1) * BINS, len(BIN_FIELDS), dtype=torch.int64, device=device)

    def add(self, logits_BC: Tensor, labels: Tensor, cells_B: Tensor) -> Outcome:
        """Give back how each sample was answered. labels: [B] or [B, L], as for `outcome`."""
        result = outcome(logits_BC, labels)
        one = torch.ones_like(cells_B)
        values = (
            one, result.correct, _in_top5(logits_BC, labels) & result.finite, to_fixed(result.loss),
            to_fixed(result.loss**2), ~result.finite,
        )  # fmt: skip
        self._sums.index_add_(0, cells_B, torch.stack([value.long() for value in values], dim=1))
        confidence = logits_BC.double().softmax(1).amax(1).nan_to_num(0.0)
        bins = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
        tallied = torch.stack([one, to_fixed(confidence), result.correct.long()], dim=1)
        self._bins.index_add_(0, cells_B * BINS + bins, tallied)
        return result

    def sums(self) -> Counts:
        return Counts(self._sums[: self.cells].cpu().numpy(), FIELDS)

    def bins(self) -> Counts:
        bins = self._bins[: self.cells * BINS].view(self.cells, BINS, len(BIN_FIELDS))
        return Counts(bins.cpu().numpy(), BIN_FIELDS)


def _in_top5(logits_BC: Tensor, labels: Tensor) -> Tensor:
    """Whether fewer than five classes score higher than a label."""
    return (logits_BC > best_of(logits_BC, labels)[:, None]).sum(1) < 5
