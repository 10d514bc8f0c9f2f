"""What each head gives the logits directly, nothing behind it recomputed: the logit lens, per head.

The final norms' statistics are those of the intact pass, LayerScale and pooling are included (as in Gandelsman et al.
2024, arXiv:2310.05916, for CLIP's class token). dloss is the loss change if only that part of the logits went.

Letters: B samples, H heads of a layer, U heads of the model, C classes.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.errors import MismatchError
from vhs.measures.fill_kinds import ZERO, FillKind
from vhs.measures.fills import Bank, Filler
from vhs.measures.observation import Observation
from vhs.measures.scoring import Scope, Tally, View, mean_of, outcome
from vhs.models import seam
from vhs.models.hooks import hook_before, keep_input
from vhs.models.model import Model
from vhs.models.readout import first_reaching, readout
from vhs.seeds import FOLDS

FIELDS = ("n", "dloss", "dloss_sq", "score", "n_nonfinite")


class DirectEstimate:
    """Tallies of one model; `add` batches of one condition, then read `results`.

    Raises MismatchError for networks where the way from the last block to the logits is not linear up to norms.
    """

    def __init__(self, model: Model, scope: Scope, *, kind: FillKind = ZERO, bank: Bank | None = None) -> None:
        if model.plain is None:
            raise MismatchError(
                f"{model.name}: --method direct is of timm's plain VisionTransformer; attention pooling and norms "
                f"behind the projection have no direct path."
            )
        self.model, self.net = model, model.plain
        self.view = scope.views[0]
        self._filler = Filler(model, (kind,), bank)
        self._tally = Tally((len(model.grid),), FIELDS, model.device)

    def add(self, batch: Batch) -> None:
        with torch.inference_mode(), self.model.autocast():
            logits_BC, given_UBC = self._contributions(batch)
        logits, given = logits_BC.float(), given_UBC.float()
        intact, labels, _ = self.view.of(logits, batch)
        without = [self.view.read(logits - part) for part in given]
        self._tally.add(batch.folds_B, _changes(intact, without, labels) | _given(self.view.given(given), labels))

    def results(self) -> dict[str, Counts]:
        """units: int64 [U, FOLDS, FIELDS]; 2^-24 of nats and logits."""
        return {"units": self._tally.counts()}

    def _contributions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(intact logits [B, C], what each head gives them beyond its fill [U, B, C])."""
        kept: list[Tensor] = []
        with ExitStack() as stack:
            for module in (*(seam.projection(block) for block in seam.blocks(self.net)), self.net.norm):
                stack.enter_context(hook_before(module, partial(keep_input, kept)))
            logits_BC = self.net(self.model.preprocess(batch.images_BCHW))
        *heads, residual_BND = kept
        (fill,) = self._filler.fills(batch)
        read = readout(self.net, residual_BND)
        parts = []
        for layer, heads_BNK in enumerate(heads):
            instead = fill(layer, len(heads_BNK))
            parts.append(read.of_heads(self.net, layer, heads_BNK if instead is None else heads_BNK - instead))
        return logits_BC, torch.cat(parts)


def score_of(given_UBC: Tensor, labels: Tensor) -> Tensor:
    """[U, B]: what is given to the label's logit, centred over classes; of several labels the mean."""
    centred = given_UBC - given_UBC.mean(-1, keepdim=True)
    every = labels.expand(len(given_UBC), *labels.shape).flatten(0, 1)
    return mean_of(centred.flatten(0, 1), every).view(given_UBC.shape[:2])


def direct_scores(seen: Observation, model: Model, view: View, batch: Batch) -> Tensor | None:
    """float32 [G, B], logits: what each head gives the true class directly; NaN where that is not counted.

    None where the way from heads to logits is not linear up to norms.
    """
    given_GBC = direct_logits(model, seen.heads, seen.residual_BND)
    return None if given_GBC is None else scores_of(given_GBC, view, batch)


def scores_of(given_GBC: Tensor, view: View, batch: Batch) -> Tensor:
    """float32 [G, B]: of what heads give the logits that of the true class; NaN where that is not counted."""
    _, labels, folds_B = view.of(given_GBC[0], batch)
    return score_of(view.given(given_GBC), labels).masked_fill(folds_B == FOLDS, torch.nan)


def direct_logits(
    model: Model, heads: list[Tensor], residual_BND: Tensor | None, *, partly: bool = False
) -> Tensor | None:  # fmt: skip
    """float32 [G, B, C]: what each head gives the logits directly.

    None where the way to them is not linear up to norms. heads: for each layer what its projection received; residual:
    what the final norm did; partly: give NaN for heads that have no direct way, behind which an attention without a
    residual stands, and not None for all.
    """
    if model.plain is None or residual_BND is None:
        return None
    try:
        read = readout(model.plain, residual_BND.float(), partly=partly)
    except MismatchError:
        return None
    given = [read.of_heads(model.plain, layer, values.float()) for layer, values in enumerate(heads)]
    first = first_reaching(model.plain)
    return torch.cat([*(torch.full_like(part, torch.nan) for part in given[:first]), *given[first:]])


def _given(given_UBC: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return {"score": to_fixed(score_of(given_UBC, labels).double().nan_to_num(0, 0, 0))}


def _changes(intact_BC: Tensor, without: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
    """What is tallied of every sample without each head's part of its logits, [U, B] each."""
    before = outcome(intact_BC, labels)
    after = [outcome(logits_BC, labels) for logits_BC in without]
    dloss = torch.stack([part.loss - before.loss for part in after])
    finite = torch.stack([part.finite & before.finite for part in after])
    return {
        "n": torch.ones_like(finite), "n_nonfinite": ~finite, "dloss": to_fixed(dloss), "dloss_sq": to_fixed(dloss**2),
    }  # fmt: skip
