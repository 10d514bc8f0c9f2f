"""Squared errors of a model that predicts numbers, intact and without each head.

Targets are standardised with the training split's mean and deviation, so that 1 is the error of predicting the mean.

Letters: B samples, T targets, U units (the sham first), V variants of one stack.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.measures.ablation_options import HEADS_BY_ZEROS, Ablation
from vhs.measures.fills import Bank, Filler
from vhs.measures.scoring import Tally
from vhs.models.model import Model
from vhs.models.removal import Removal

FIELDS = ("n", "se_intact", "dse", "dse_sq", "n_nonfinite")
EVALUATION = ("n", "se", "se_sq", "ae", "target", "target_sq", "n_nonfinite")


class RegressionAblation:
    """Tallies of one model; as `HeadAblation`, of squared errors by target."""

    def __init__(
        self, model: Model, stack: int, targets: int, ablation: Ablation = HEADS_BY_ZEROS, *,
        bank: Bank | None = None,
    ) -> None:  # fmt: skip
        self.model = model
        self.stack = stack
        self.fills = ablation.fills
        self._filler = Filler(model, self.fills, bank)
        self._removal = Removal(model.net, model.engine, ablation.units, rescale=ablation.rescale)
        units = len(self.fills) * len(self._removal.units)
        self._tally = Tally((units, targets), FIELDS, model.device)

    def add(self, batch: Batch) -> None:
        with torch.inference_mode(), self.model.autocast():
            pixels = self.model.preprocess(batch.images_BCHW)
            instead = self._filler.fills(batch)
            score = partial(_squared_errors, batch=batch)
            intact_TB, after = self._removal.scores(pixels, self.stack, instead, score)
        after_UTB = torch.stack([error_TB for by_unit in after for error_TB in by_unit])
        change = (after_UTB - intact_TB).nan_to_num(0, 0, 0)
        finite = after_UTB.isfinite() & intact_TB.isfinite()
        self._tally.add(batch.folds_B, {
            "n": torch.ones_like(finite), "n_nonfinite": ~finite, "dse": to_fixed(change),
            "dse_sq": to_fixed(change**2), "se_intact": to_fixed(intact_TB.nan_to_num(0, 0, 0)).expand(finite.shape),
        })  # fmt: skip

    def results(self) -> dict[str, Counts]:
        """units: int64 [U, T, FOLDS, FIELDS]; squared errors in 2^-24."""
        return {"units": self._tally.counts()}


class RegressionEvaluation:
    """Tallies of one model; `add` batches of one condition, then read `results`."""

    def __init__(self, model: Model, targets: int) -> None:
        self.model = model
        self._tally = Tally((targets,), EVALUATION, model.device)

    def add(self, batch: Batch) -> None:
        with torch.inference_mode(), self.model.autocast():
            answers_BT = self.model.net(self.model.preprocess(batch.images_BCHW))
        squared, targets = _squared_errors(answers_BT, batch), targets_of(batch).double().T
        finite = squared.isfinite()
        squared = squared.nan_to_num(0, 0, 0)
        values = {"se": squared, "se_sq": squared**2, "ae": squared.sqrt(), "target": targets, "target_sq": targets**2}
        counted = {"n": torch.ones_like(finite), "n_nonfinite": ~finite}
        self._tally.add(batch.folds_B, counted | {name: to_fixed(value) for name, value in values.items()})

    def results(self) -> dict[str, Counts]:
        """targets: int64 [T, FOLDS, EVALUATION]; sums in 2^-24."""
        return {"targets": self._tally.counts()}


def targets_of(batch: Batch) -> Tensor:
    """[B, T], standardised."""
    assert batch.targets_BT is not None, "data without targets"
    return batch.targets_BT


def _squared_errors(answers_BT: Tensor, batch: Batch) -> Tensor:
    """float64 [T, B]: squared errors."""
    return ((answers_BT.float() - targets_of(batch)).double() ** 2).T
