"""From logits to what is counted of one sample.

Letters: M rows (samples, or variants times samples), B samples, C classes.
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


def outcome(logits_MC: Tensor, labels_M: Tensor) -> Outcome:
    """Score logits against labels. The loss is the cross-entropy, computed in float64."""
    logits = logits_MC.double()
    finite = logits.isfinite().all(1)
    logits = torch.where(finite[:, None], logits, 0.0)
    of_label = logits.gather(1, labels_M[:, None])[:, 0]
    others = logits.scatter(1, labels_M[:, None], -torch.inf).amax(1)
    answer = logits.argmax(1)
    return Outcome(
        correct=(answer == labels_M) & finite,
        answer=answer,
        loss=logits.logsumexp(1) - of_label,
        near_tie=(of_label - others).abs() < NEAR_TIE,
        finite=finite,
    )


@dataclass(frozen=True)
class View:
    """Which samples are counted, and which classes may be answered; `group` and `label_set` are what tables say.

    outputs_K: the model's outputs that may be answered, int64; None for all of them.
    places_C: for each of the data's classes its position among these outputs, or -1 for not counted.
    """

    group: str
    label_set: str
    places_C: Tensor
    outputs_K: Tensor | None = None

    def of(self, logits_MC: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(logits [M, K], labels [B] among them, folds [B]); what is not counted has the padding's fold."""
        logits = logits_MC if self.outputs_K is None else logits_MC.index_select(-1, self.outputs_K)
        labels = self.places_C[batch.labels_B]
        return logits, labels.clamp(min=0), torch.where(labels < 0, FOLDS, batch.folds_B)


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
