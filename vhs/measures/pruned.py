"""Accuracy, loss and calibration of one model's pruned networks, and each sample's answers, so that networks pair.

Letters: B samples, N samples of the set, V networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from vhs.batch import Batch
from vhs.counts import Counts
from vhs.measures.evaluation import Scores
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.seeds import FOLDS


class PrunedEvaluation:
    """Tallies of networks that see what a model sees; `add` batches of one condition, then read `results`."""

    def __init__(self, model: Model, scope: Scope, nets: Sequence[nn.Module]) -> None:
        self.model, self.view, self._nets = model, scope.views[0], nets
        self._scores = [Scores(FOLDS, model.device) for _ in nets]
        self._correct = torch.zeros(scope.samples + 1, 1 + len(nets), dtype=torch.bool, device=model.device)

    def add(self, batch: Batch) -> None:
        right = []
        with torch.inference_mode():
            pixels = self.model.preprocess(batch.images_BCHW)
            for net, scores in zip(self._nets, self._scores, strict=True):
                with self.model.autocast():
                    logits_BC = net(pixels)
                logits, labels, folds = self.view.of(logits_BC.float(), batch)
                right.append(scores.add(logits, labels, folds).correct)
        counted = folds < FOLDS
        self._correct[batch.positions_B] = torch.stack([counted, *(part & counted for part in right)]).T

    def results(self) -> dict[str, Counts]:
        """sums: int64 [V, FOLDS, evaluation.FIELDS]; bins: [V, FOLDS, BINS, BIN_FIELDS]; outcomes: uint8 [N, 1 + bytes]
        of whether the sample was measured, then a bit a network, 1 if right."""
        sums, bins = ([getattr(scores, name)() for scores in self._scores] for name in ("sums", "bins"))
        flags = self._correct[:-1].cpu().numpy()
        packed = np.packbits(flags[:, 1:], axis=1, bitorder="little")
        values = np.concatenate([flags[:, :1].astype(np.uint8), packed], axis=1)
        names = ("present", *(f"byte{index}" for index in range(packed.shape[1])))
        return {
            "sums": Counts(np.stack([part.values for part in sums]), sums[0].fields),
            "bins": Counts(np.stack([part.values for part in bins]), bins[0].fields),
            "outcomes": Counts(values, names),
        }


def unpack(outcomes: Counts, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(whether each sample was measured, bool [N]; whether each of `count` networks was right, bool [V, N])."""
    bits = np.unpackbits(outcomes.values[:, 1:].astype(np.uint8), axis=1, bitorder="little")[:, :count]
    return outcomes.values[:, 0].astype(bool), bits.T.astype(bool)
