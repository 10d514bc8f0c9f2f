"""What removing each head would do, by several measures at once, with labels and without: what heads are ordered by.

Letters: B samples, U units (the sham first), C classes.
"""

from __future__ import annotations

from functools import partial
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
    """Of one unit, [B] each: right (bool), and in float64 nats the loss, how far the answers are from the whole model's
    and their entropy; finite; log-probabilities [B, C], where views are compared with them."""

    correct: Tensor
    loss: Tensor
    apart: Tensor
    entropy: Tensor
    finite: Tensor
    logs: Tensor | None


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
            units = self._units(batch, batch.images_BCHW)
            views = torch.zeros(len(units), len(batch.keys_B), dtype=torch.float64, device=batch.keys_B.device)
            for moved in augmented(batch.images_BCHW) if self._views else ():
                seen = self._units(batch, moved)
                views += torch.stack([_between(a, b) for a, b in zip(units, seen, strict=True)]) / VIEWS
        found = {name: torch.stack([getattr(unit, name) for unit in units]) for name in (
            "correct", "loss", "apart", "entropy", "finite")}  # fmt: skip
        finite = found["finite"]
        floats = {name: found[name] for name in ("loss", "apart", "entropy")} | {"views_apart": views}
        self._tally.add(batch.folds_B, {
            "n": torch.ones_like(finite), "n_nonfinite": ~finite, "n_correct": found["correct"],
        } | {name: to_fixed(value.nan_to_num(0, 0, 0)) for name, value in floats.items()})  # fmt: skip

    def results(self) -> dict[str, Counts]:
        """units: int64 [U, FOLDS, FIELDS]; floats in 2^-24 nats."""
        return {"units": self._tally.counts()}

    def _units(self, batch: Batch, images_BCHW: Tensor) -> list[Scored]:
        """Every unit on these images, beside the whole model on the same."""
        pixels = self.model.preprocess(images_BCHW)
        whole = self._whole or self.model
        with self.model.autocast():
            before = _logs(self.view.of(whole.net(pixels).float(), batch)[0])
            score = partial(self._score, batch=batch, before_BC=before)
            _, (units,) = self._removal.scores(pixels, self.stack, self._filler.fills(batch), score)
        return units

    def _score(self, logits_BC: Tensor, batch: Batch, before_BC: Tensor) -> Scored:
        logits, labels, _ = self.view.of(logits_BC.float(), batch)
        found, logs = outcome(logits, labels), _logs(logits)
        apart = (before_BC.exp() * (before_BC - logs)).sum(1)
        entropy = -(logs.exp() * logs).sum(1)
        return Scored(found.correct, found.loss, apart, entropy, found.finite, logs if self._views else None)


def _logs(logits_BC: Tensor) -> Tensor:
    """float64 log-probabilities."""
    return logits_BC.double().log_softmax(1)


def augmented(images_BCHW: Tensor) -> list[Tensor]:
    """Two views of each image: mirrored, and moved down and right by an eighth of its sides, the edge repeated."""
    height, width = images_BCHW.shape[-2:]
    rows = (torch.arange(height, device=images_BCHW.device) - height // MOVED).clamp(min=0)
    columns = (torch.arange(width, device=images_BCHW.device) - width // MOVED).clamp(min=0)
    return [images_BCHW.flip(-1), images_BCHW[..., rows, :][..., columns]]


def _between(a: Scored, b: Scored) -> Tensor:
    """[B], nats: Jensen-Shannon divergence of answers."""
    assert a.logs is not None and b.logs is not None
    return divergence(a.logs.exp()[:, None], b.logs.exp()[:, None])
