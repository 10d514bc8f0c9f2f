"""Accuracy, loss and calibration of one model under one condition.

Letters: B samples, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.measures.scoring import Tally, outcome
from vhs.models.model import Model

FIELDS = ("n", "n_correct", "n_correct5", "loss", "loss_sq", "n_nonfinite")
BINS = 15
"""Equal-width confidence bins of the expected calibration error (Guo et al. 2017)."""
BIN_FIELDS = ("n", "confidence_sum", "n_correct")


class Evaluation:
    """Tallies of one model; `add` batches of one condition, then read `results`."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._tally = Tally((), FIELDS, model.device)
        self._bins = torch.zeros(BINS + 1, len(BIN_FIELDS), dtype=torch.int64, device=model.device)

    def add(self, batch: Batch) -> None:
        with torch.inference_mode(), self.model.autocast():
            logits = self.model.net(self.model.preprocess(batch.images_BCHW)).float()
        result = outcome(logits, batch.labels_B)
        values = {
            "n": torch.ones_like(batch.labels_B),
            "n_correct": result.correct,
            "n_correct5": _in_top5(logits, batch.labels_B) & result.finite,
            "loss": to_fixed(result.loss),
            "loss_sq": to_fixed(result.loss**2),
            "n_nonfinite": ~result.finite,
        }
        self._tally.add(batch.folds_B, values)
        self._add_bins(logits, result.correct, batch)

    def _add_bins(self, logits_BC: Tensor, correct_B: Tensor, batch: Batch) -> None:
        confidence = logits_BC.double().softmax(1).amax(1).nan_to_num(0.0)
        index = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
        index = torch.where(torch.arange(len(index), device=index.device) < batch.size, index, BINS)
        values = torch.stack([torch.ones_like(index), to_fixed(confidence), correct_B.long()], dim=1)
        self._bins.index_add_(0, index, values)

    def results(self) -> dict[str, Counts]:
        """folds: int64 [FOLDS, FIELDS], loss in 2^-24 nats, loss_sq in 2^-24 nats².
        bins: int64 [BINS, BIN_FIELDS]; bin b holds confidences in (b/15, (b+1)/15], their sum in 2^-24."""
        return {"folds": self._tally.counts(), "bins": Counts(self._bins[:BINS].cpu().numpy(), BIN_FIELDS)}


def calibration_error(bins: Counts) -> float:
    """Expected calibration error: mean over samples of |confidence - accuracy| of their bin; in [0, 1]."""
    from vhs.counts import from_fixed

    gap = abs(from_fixed(bins["confidence_sum"]) - bins["n_correct"])
    return float(gap.sum() / max(bins["n"].sum(), 1))


def _in_top5(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Whether fewer than five classes score higher than the label."""
    of_label = logits_BC.gather(1, labels_B[:, None])
    return (logits_BC > of_label).sum(1) < 5
