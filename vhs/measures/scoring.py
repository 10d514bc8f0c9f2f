"""From logits to what is counted of one sample.

Letters: M rows (samples, or variants times samples), B samples, C classes, L labels of a sample at most,
S superclasses, E classes of a superclass at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.seeds import FOLDS

NEAR_TIE = 1e-4
"""Logit margin between the label and the best other class below which rounding may decide the answer."""


class Outcome(NamedTuple):
    """Per row: correct [M] bool, answer [M] int64, loss [M] float64 nats, near_tie [M] bool, finite [M] bool."""

    correct: Tensor
    answer: Tensor
    loss: Tensor
    near_tie: Tensor
    finite: Tensor


def outcome(logits_MC: Tensor, labels: Tensor) -> Outcome:
    """Score logits against labels [M], or [M, L] where several are right, -1 beyond; computed in float64.

    An answer is right if it is one of the labels. The loss is the cross-entropy; of several labels minus the logarithm
    of the sum of their probabilities.
    """
    logits = logits_MC.double()
    finite = logits.isfinite().all(1)
    logits = torch.where(finite[:, None], logits, 0.0)
    own, labels_ML = _of_labels(logits, labels)
    others = logits.scatter(1, labels_ML, -torch.inf).amax(1)
    answer = logits.argmax(1)
    return Outcome(
        correct=_any(answer[:, None] == labels_ML) & finite,
        answer=answer,
        loss=logits.logsumexp(1) - _together(own),
        near_tie=(_largest(own) - others).abs() < NEAR_TIE,
        finite=finite,
    )


def loss_of(logits_MC: Tensor, labels: Tensor) -> Tensor:
    """[M]: the loss alone, to be differentiated."""
    return logits_MC.logsumexp(1) - _together(_of_labels(logits_MC, labels)[0])


def best_of(logits_MC: Tensor, labels: Tensor) -> Tensor:
    """[M]: the logit of the label, of several the largest."""
    return _largest(_of_labels(logits_MC, labels)[0])


def mean_of(values_MC: Tensor, labels: Tensor) -> Tensor:
    """[M]: the value of the label, of several their mean."""
    if labels.dim() == 1:
        return values_MC.gather(1, labels[:, None])[:, 0]
    there = labels >= 0
    return (values_MC.gather(1, labels.clamp(min=0)) * there).sum(1) / there.sum(1)


def _of_labels(logits_MC: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """([M, L] the labels' logits, -inf beyond; [M, L] the labels, one of them repeated beyond)."""
    if labels.dim() == 1:
        return logits_MC.gather(1, labels[:, None]), labels[:, None]
    filled = torch.where(labels < 0, labels.amax(1, keepdim=True), labels)
    return logits_MC.gather(1, filled).masked_fill(labels < 0, -torch.inf), filled


def _together(own_ML: Tensor) -> Tensor:
    """[M]: the logarithm of the summed exponentials."""
    return own_ML[:, 0] if own_ML.shape[1] == 1 else own_ML.logsumexp(1)


def _largest(own_ML: Tensor) -> Tensor:
    return own_ML[:, 0] if own_ML.shape[1] == 1 else own_ML.amax(1)


def _any(right_ML: Tensor) -> Tensor:
    return right_ML[:, 0] if right_ML.shape[1] == 1 else right_ML.any(1)


@dataclass(frozen=True)
class View:
    """Which samples are counted, and which classes may be answered; `group` and `label_set` are what tables say.

    outputs_K: the model's outputs that may be answered, int64; None for all of them.
    places_C: for each of the data's classes its position among these outputs, or -1 for not counted.
    members_SE: int64, where the answers are superclasses: the outputs of each, -1 beyond.
    """

    group: str
    label_set: str
    places_C: Tensor
    outputs_K: Tensor | None = None
    members_SE: Tensor | None = None

    def of(self, logits_MC: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(logits [M, K], labels [B] or [B, L] among them, folds [B]); what is not counted has the padding's fold."""
        logits = self.read(logits_MC)
        if batch.labels_BL is None:
            labels = self.places_C[batch.labels_B]
            return logits, labels.clamp(min=0), torch.where(labels < 0, FOLDS, batch.folds_B)
        labels = torch.where(batch.labels_BL < 0, -1, self.places_C[batch.labels_BL.clamp(min=0)])
        outside = (labels < 0).all(1)
        return logits, labels.masked_fill(outside[:, None], 0), torch.where(outside, FOLDS, batch.folds_B)

    def read(self, logits_MC: Tensor) -> Tensor:
        """[M, K]: logits of the answers. Of a superclass the logarithm of the mean probability of its classes, up to a
        constant of the row, which changes neither answers nor losses."""
        if self.members_SE is None:
            return self.given(logits_MC)
        parts, absent = self._members(logits_MC)
        return parts.double().masked_fill(absent, -torch.inf).logsumexp(-1) - (~absent).sum(-1).double().log()

    def given(self, values_MC: Tensor) -> Tensor:
        """[M, K]: what is given to the answers, linearly; to a superclass the mean of what its classes get."""
        if self.members_SE is not None:
            parts, absent = self._members(values_MC)
            return parts.masked_fill(absent, 0).sum(-1) / (~absent).sum(-1)
        return values_MC if self.outputs_K is None else values_MC.index_select(-1, self.outputs_K)

    def answers(self, outputs: int) -> int:
        """How many answers there are, of a model with so many outputs."""
        chosen = self.outputs_K if self.members_SE is None else self.members_SE
        return outputs if chosen is None else len(chosen)

    def _members(self, values_MC: Tensor) -> tuple[Tensor, Tensor]:
        """([M, S, E] the values of the members, [S, E] which of these places have none)."""
        assert self.members_SE is not None
        places = self.members_SE.clamp(min=0)
        return values_MC.index_select(-1, places.flatten()).unflatten(-1, places.shape), self.members_SE < 0


@dataclass(frozen=True)
class Scope:
    """What of one condition is tallied.

    views: the first counts every sample; groups: names of sample groups; samples: how many there are on all ranks;
    twins: whether images are shifted and come with what they were before.
    """

    views: tuple[View, ...]
    groups: tuple[str, ...] = ()
    samples: int = 0
    twins: bool = False

    @classmethod
    def whole(cls, classes: int, device: torch.device) -> Scope:
        """Every sample over all classes, where data and model have the same."""
        return cls((View("all", "all", torch.arange(classes, device=device)),))


MOMENTS = ("n", "value", "value_sq")


def moments(values: Tensor, names: tuple[str, str, str] = MOMENTS) -> dict[str, Tensor]:
    """What a mean over samples is tallied by: whether there is a number, the number, its square, in fixed point."""
    known = values.nan_to_num().double()
    numbers = (~values.isnan()).to(torch.int64), to_fixed(known), to_fixed(known**2)
    return dict(zip(names, numbers, strict=True))


class Tally:
    """int64 sums [*units, cells, fields] on the device, cells the folds by default; adding never waits for the host."""

    def __init__(
        self, units: tuple[int, ...], fields: tuple[str, ...], device: torch.device, *, cells: int = FOLDS
    ) -> None:
        self.fields = fields
        self.cells = cells
        self._sums = torch.zeros(*units, cells + 1, len(fields), dtype=torch.int64, device=device)

    def add(self, cells_B: Tensor, values: dict[str, Tensor], unit: int | slice | tuple = ()) -> None:
        """Add integer or boolean `values` [*units, B], one per field, to each sample's cell; padding's is `cells`."""
        self.add_rows(cells_B, torch.stack([values[field].to(torch.int64) for field in self.fields], dim=-1), unit)

    def add_rows(self, cells_B: Tensor, rows: Tensor, unit: int | slice | tuple = ()) -> None:
        """The same, of int64 [*units, B, fields]."""
        part = self._sums[unit]
        part.index_add_(part.dim() - 2, cells_B, rows)

    def counts(self) -> Counts:
        """The sums so far, without the padding's."""
        return Counts(self._sums[..., : self.cells, :].cpu().numpy(), self.fields)
