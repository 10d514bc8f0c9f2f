"""Remove one head at a time and count the answers that change.

The head's slice at the seam is replaced by a fill (measures/fills), the projection's bias stays (zero fill: Michel
et al. 2019, arXiv:1905.10650, as a total effect: everything behind the head is recomputed).

Letters: B samples, U units (the sham first, then the heads in grid order), V variants of one layer
in one stack, N tokens, D width, H heads, C classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.measures.ablation_options import HEADS_BY_ZEROS, Ablation
from vhs.measures.fills import Bank, Filler
from vhs.measures.scoring import Outcome, Scope, Tally, outcome
from vhs.models.model import Model
from vhs.models.removal import Removal

FIELDS = (
    "n", "n_correct_intact", "n_correct", "n_lost", "n_gained", "n_near_tie", "n_flip", "n_nonfinite",
    "loss_intact", "dloss", "dloss_sq", "score", "score_sq",
)  # fmt: skip


class HeadAblation:
    """Tallies of one model; `add` batches of one condition, then read `results`.

    stack: how many variants are stacked on the batch axis at most. Like the tile it may change the last bits of
    logits, so a run keeps it fixed. ablation: what is removed and what stands in for it; a sham and all units are
    tallied for each fill in turn; bank: for fills that need one. keep: whether each sample's outcomes are kept, of the
    first fill.
    """

    def __init__(
        self, model: Model, scope: Scope, stack: int, ablation: Ablation = HEADS_BY_ZEROS, *, bank: Bank | None = None,
        keep: bool = False,
    ) -> None:  # fmt: skip
        self.model = model
        self.view = scope.views[0]
        self.stack = stack
        self.fills = ablation.fills
        self._filler = Filler(model, self.fills, bank)
        self._removal = Removal(model.net, model.engine, ablation.units, rescale=ablation.rescale)
        self._partners_2U, self._sign_U = (
            part.to(model.device, non_blocking=True) for part in self._removal.partners()
        )
        self._units = len(self._removal.units)
        units = (len(self.fills) * self._units,)
        self._tally = Tally(units, FIELDS, model.device)
        self._groups = Tally(units, FIELDS, model.device, cells=len(scope.groups))
        kept = scope.samples if keep else 0
        self._correct = torch.zeros(kept + 1, 2 + self._units, dtype=torch.bool, device=model.device)
        self._keep = keep

    def add(self, batch: Batch) -> None:
        with torch.inference_mode():
            parts = list(self._outcomes(batch))
            flips = self._reference_flips(parts[0][0], batch)
        changes = [_changes(intact, ablated, flips) | self._scores(ablated) for intact, ablated in parts]
        joined = {field: torch.cat([change[field] for change in changes]) for field in FIELDS}
        self._tally.add(batch.folds_B, joined)
        for groups_B in batch.groups_AB:
            self._groups.add(groups_B, joined)
        if self._keep:
            intact, ablated = parts[0]
            present = torch.ones_like(intact.correct)[None]
            self._correct[batch.positions_B] = torch.cat([present, intact.correct[None], ablated.correct]).T

    def results(self) -> dict[str, Counts]:
        """units: int64 [U, FOLDS, FIELDS]; groups: [U, G, FIELDS]; losses in 2^-24 nats, dloss_sq in 2^-24 nats²."""
        found = {"units": self._tally.counts(), "groups": self._groups.counts()}
        return found | ({"outcomes": self._pack()} if self._keep else {})

    def _pack(self) -> Counts:
        """uint8 [N, 1 + bytes]: whether the sample was measured, then its bits (right: 1): intact, then by unit."""
        flags = self._correct[:-1].cpu().numpy()
        bits = np.packbits(flags[:, 1:], axis=1, bitorder="little")
        values = np.concatenate([flags[:, :1].astype(np.uint8), bits], axis=1)
        return Counts(values, ("present", *(f"byte{index}" for index in range(bits.shape[1]))))

    def _outcomes(self, batch: Batch) -> Iterator[tuple[Outcome, Outcome]]:
        """For each kind of fill the outcomes of the intact model [B] and of every unit [U, B]."""
        clean = batch.images_BCHW if batch.clean_BCHW is None else batch.clean_BCHW
        for into_clean, kinds in itertools.groupby(self.fills, key=lambda kind: kind.into_clean):
            chosen = list(kinds)
            pixels = self.model.preprocess(clean if into_clean else batch.images_BCHW)
            with self.model.autocast():
                instead = self._filler.fills(batch, chosen)
                score = partial(self._outcome, batch=batch)
                intact, ablated = self._removal.scores(pixels, self.stack, instead, score)
            yield from ((intact, _stack(outcomes)) for outcomes in ablated)

    def _scores(self, ablated: Outcome) -> dict[str, Tensor]:
        """[U, B] of each sample, in answers: what a pair loses beyond its two heads, what one head alone saves."""
        right_UB = ablated.correct.to(torch.int64)
        a, b = (right_UB[partner] for partner in self._partners_2U)
        score = self._sign_U[:, None] * (a + b - right_UB - right_UB[:1])
        return {"score": score, "score_sq": score**2}

    def _outcome(self, logits_BC: Tensor, batch: Batch) -> Outcome:
        logits, labels, _ = self.view.of(logits_BC.float(), batch)
        return outcome(logits, labels)

    def _reference_flips(self, intact: Outcome, batch: Batch) -> Tensor:
        """[B] where reduced precision alone changes the intact answer, on the samples of fold 0."""
        if self.model.precision == "float32":
            return torch.zeros_like(intact.correct)
        with exact_matmul():
            pixels = self.model.preprocess(batch.images_BCHW)
            logits, _, _ = self.view.of(self.model.net(pixels).float(), batch)
        return (logits.argmax(1) != intact.answer) & (batch.folds_B == 0)


class exact_matmul:
    """Inside the block float32 products are float32 products (TF32 off)."""

    def __enter__(self) -> None:
        self._before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before


def _changes(intact: Outcome, ablated: Outcome, flips_B: Tensor) -> dict[str, Tensor]:
    """What changed per unit and sample of one fill, [U, B] each. Intact flips are told of the sham only."""
    dloss = ablated.loss - intact.loss
    n_flip = torch.zeros_like(ablated.correct)
    n_flip[0] = flips_B
    return {
        "n": torch.ones_like(ablated.answer),
        "n_correct_intact": intact.correct.expand_as(ablated.correct),
        "n_correct": ablated.correct,
        "n_lost": intact.correct & ~ablated.correct,
        "n_gained": ~intact.correct & ablated.correct,
        "n_near_tie": intact.near_tie | ablated.near_tie,
        "n_flip": n_flip,
        "n_nonfinite": ~(intact.finite & ablated.finite),
        "loss_intact": to_fixed(intact.loss).expand_as(ablated.answer),
        "dloss": to_fixed(dloss),
        "dloss_sq": to_fixed(dloss**2),
    }


def _stack(outcomes: list[Outcome]) -> Outcome:
    return Outcome(*(torch.stack(column) for column in zip(*outcomes, strict=True)))
