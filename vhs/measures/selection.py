"""What removing each head would do, by several measures at once, with labels and without: what heads are ordered by.

Letters: B samples, U units (the sham first), C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.measures.divergence import divergence
from vhs.measures.fill_kinds import ZERO, FillKind
from vhs.measures.fills import Bank, Filler
from vhs.measures.scoring import Scope, Tally, outcome
from vhs.models.model import Model
from vhs.models.removal import Removal

FIELDS = ("n", "n_correct", "loss", "apart", "entropy", "views_apart", "n_nonfinite")
MOVED = 8
"""A view is moved by the side over this."""
VIEWS = 2


class Scored(NamedTuple):
    """Of one unit: right [B] bool, loss [B], float64 log-probabilities [B, C], finite [B] bool."""

    correct: Tensor
    loss: Tensor
    logs: Tensor
    finite: Tensor


class HeadScores:
    """Tallies of one model; `add` batches of one condition, then read `results`.

    stack: how many variants are stacked on the batch axis at most; kind: what stands in for a head; views: whether
    answers of augmented views are compared, which takes two more sweeps; whole: the model whose answers those without a
    head are compared with, by default this one.
    """

    def __init__(
        self, model: Model, scope: Scope, stack: int, *, kind: FillKind = ZERO, bank: Bank | None = None,
        views: bool = False, whole: Model | None = None,
    ) -> None:  # fmt: skip
        self._whole = whole
        self.model, self.view, self.stack, self._views = model, scope.views[0], stack, views
        self._filler = Filler(model, (kind,), bank)
        self._removal = Removal(model.net, model.engine)
        self.units = self._removal.units
        self._tally = Tally((len(self.units),), FIELDS, model.device)

    def add(self, batch: Batch) -> None:
        with torch.inference_mode():
            intact, units = self._scores(batch, batch.images_BCHW)
            before = intact if self._whole is None else self._answers(self._whole, batch)
            views = torch.zeros(len(units), len(batch.keys_B), dtype=torch.float64, device=batch.keys_B.device)
            for moved in augmented(batch.images_BCHW) if self._views else ():
                _, seen = self._scores(batch, moved)
                views += torch.stack([_apart(a.logs, b.logs) for a, b in zip(units, seen, strict=True)]) / VIEWS
        finite = torch.stack([unit.finite & intact.finite for unit in units])
        values = {
            "loss": torch.stack([unit.loss for unit in units]),
            "apart": torch.stack([_divergence(before.logs, unit.logs) for unit in units]),
            "entropy": torch.stack([-(unit.logs.exp() * unit.logs).sum(1) for unit in units]),
            "views_apart": views,
        }
        self._tally.add(batch.folds_B, {
            "n": torch.ones_like(finite), "n_nonfinite": ~finite,
            "n_correct": torch.stack([unit.correct for unit in units]),
        } | {name: to_fixed(value.nan_to_num(0, 0, 0)) for name, value in values.items()})  # fmt: skip

    def results(self) -> dict[str, Counts]:
        """units: int64 [U, FOLDS, FIELDS]; floats in 2^-24 nats."""
        return {"units": self._tally.counts()}

    def _scores(self, batch: Batch, images_BCHW: Tensor) -> tuple[Scored, list[Scored]]:
        """(the intact model, every unit)."""
        pixels = self.model.preprocess(images_BCHW)
        with self.model.autocast():
            fills = self._filler.fills(batch)
            intact, (units,) = self._removal.scores(
                pixels, self.stack, fills, lambda logits: self._score(logits, batch)
            )
        return intact, units

    def _answers(self, model: Model, batch: Batch) -> Scored:
        with model.autocast():
            return self._score(model.net(model.preprocess(batch.images_BCHW)), batch)

    def _score(self, logits_BC: Tensor, batch: Batch) -> Scored:
        logits, labels, _ = self.view.of(logits_BC.float(), batch)
        found = outcome(logits, labels)
        return Scored(found.correct, found.loss, logits.double().log_softmax(1), found.finite)


def augmented(images_BCHW: Tensor) -> list[Tensor]:
    """Two views of each image: mirrored, and moved down and right by an eighth of its sides, the edge repeated."""
    height, width = images_BCHW.shape[-2:]
    rows = (torch.arange(height, device=images_BCHW.device) - height // MOVED).clamp(min=0)
    columns = (torch.arange(width, device=images_BCHW.device) - width // MOVED).clamp(min=0)
    return [images_BCHW.flip(-1), images_BCHW[..., rows, :][..., columns]]


def _divergence(before_BC: Tensor, after_BC: Tensor) -> Tensor:
    """[B], nats: Kullback-Leibler divergence of answers from what they were, from log-probabilities."""
    return (before_BC.exp() * (before_BC - after_BC)).sum(1)


def _apart(a_BC: Tensor, b_BC: Tensor) -> Tensor:
    """[B], nats: Jensen-Shannon divergence, from log-probabilities."""
    return divergence(a_BC.exp()[:, None], b_BC.exp()[:, None])
