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
from vhs.measures.scoring import Scope, Tally, View, outcome
from vhs.models import seam
from vhs.models.hooks import hook_before, keep_input
from vhs.models.model import Model
from vhs.models.readout import first_reaching, readout

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
        intact, labels, _ = self.view.of(logits_BC.float(), batch)
        given = self.view.of(given_UBC.flatten(0, 1).float(), batch)[0].view(*given_UBC.shape[:2], -1)
        self._tally.add(batch.folds_B, _changes(intact, given, labels))

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


def score_of(given_UBC: Tensor, labels_B: Tensor) -> Tensor:
    """[U, B]: what is given to the label's logit, centred over classes."""
    centred = given_UBC - given_UBC.mean(-1, keepdim=True)
    return centred.gather(-1, labels_B.expand(len(given_UBC), -1)[..., None])[..., 0]


def direct_scores(seen: Observation, model: Model, view: View, batch: Batch) -> Tensor | None:
    """float32 [G, B], logits: what each head gives the true class directly; NaN where that is not counted.

    None where the way from heads to logits is not linear up to norms.
    """
    given_GBC = direct_logits(model, seen.heads, seen.residual_BND)
    return None if given_GBC is None else scores_of(given_GBC, view, batch)


def scores_of(given_GBC: Tensor, view: View, batch: Batch) -> Tensor:
    """float32 [G, B]: of what heads give the logits that of the true class; NaN where that is not counted."""
    logits, labels, _ = view.of(given_GBC.flatten(0, 1), batch)
    score = score_of(logits.view(*given_GBC.shape[:2], -1), labels)
    return score.masked_fill(view.places_C[batch.labels_B] < 0, torch.nan)


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


def _changes(intact_BC: Tensor, given_UBC: Tensor, labels_B: Tensor) -> dict[str, Tensor]:
    """What is tallied of every sample without each head's part of its logits, [U, B] each."""
    before = outcome(intact_BC, labels_B)
    after = [outcome(intact_BC - part, labels_B) for part in given_UBC]
    dloss = torch.stack([part.loss - before.loss for part in after])
    finite = torch.stack([part.finite & before.finite for part in after])
    score = score_of(given_UBC, labels_B).double().nan_to_num(0, 0, 0)
    return {
        "n": torch.ones_like(finite), "n_nonfinite": ~finite, "dloss": to_fixed(dloss), "dloss_sq": to_fixed(dloss**2),
        "score": to_fixed(score),
    }  # fmt: skip
