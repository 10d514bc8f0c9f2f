"""First-order estimates of what removing a head does to the loss: one backward pass instead of a pass a head.

dloss ~ sum over tokens and features of (fill - z) * dL/dz, z being what the projection receives (signed; Molchanov et
al. 2017). The score of Michel et al. 2019 (arXiv:1905.10650) takes absolute values of a head's z * dL/dz: of its sum
over a sample's tokens (the paper's formula), or of each token's (the code that was published with it).

Letters: B samples, H heads of a layer, U heads of the model.
"""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from vhs.batch import Batch
from vhs.counts import Counts, to_fixed
from vhs.measures.fill_kinds import ZERO, FillKind
from vhs.measures.fills import Bank, Filler
from vhs.measures.scoring import Scope, Tally, loss_of
from vhs.models.discovery import Seam
from vhs.models.hooks import hook_before
from vhs.models.model import Model

FIELDS = ("n", "dloss", "dloss_sq", "score", "score_token", "n_nonfinite")


class TaylorEstimate:
    """Tallies of one model; `add` batches of one condition, then read `results`."""

    def __init__(self, model: Model, scope: Scope, *, kind: FillKind = ZERO, bank: Bank | None = None) -> None:
        self.model = model
        self.view = scope.views[0]
        self._filler = Filler(model, (kind,), bank)
        self._tally = Tally((len(model.grid),), FIELDS, model.device)

    def add(self, batch: Batch) -> None:
        received = self._projection_inputs(batch)
        (fill,) = self._filler.fills(batch)
        parts: list[tuple[Tensor, Tensor]] = []
        for layer, (z, place) in enumerate(zip(received, self.model.engine.seams, strict=True)):
            gradient = z.grad
            assert gradient is not None, "a projection that no answer depends on"
            instead = fill(layer, len(z))
            change = ((-z if instead is None else instead - z) * gradient).detach().double()
            parts.append(_by_head(change, len(batch.keys_B), place))
        dloss, token = (torch.cat([part[index] for part in parts]) for index in (0, 1))
        finite = dloss.isfinite() & token.isfinite()
        dloss, token = (values.nan_to_num(0, 0, 0) for values in (dloss, token))
        self._tally.add(batch.folds_B, {
            "n": torch.ones_like(finite), "n_nonfinite": ~finite, "dloss": to_fixed(dloss),
            "dloss_sq": to_fixed(dloss**2), "score": to_fixed(dloss.abs()), "score_token": to_fixed(token),
        })  # fmt: skip

    def results(self) -> dict[str, Counts]:
        """units: int64 [U, FOLDS, FIELDS]; nats in 2^-24."""
        return {"units": self._tally.counts()}

    def _projection_inputs(self, batch: Batch) -> list[Tensor]:
        """What each projection receives, with the loss's gradient at it."""
        kept: list[Tensor] = []

        def keep(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            args[0].retain_grad()
            kept.append(args[0])

        with ExitStack() as stack, torch.enable_grad():
            for place in self.model.engine.seams:
                stack.enter_context(hook_before(place.projection, keep))
            pixels = self.model.preprocess(batch.images_BCHW).clone().requires_grad_()
            with self.model.autocast():
                logits, labels, _ = self.view.of(self.model.net(pixels).float(), batch)
            loss_of(logits, labels).sum().backward()
        return kept


def _by_head(change: Tensor, samples: int, place: Seam) -> tuple[Tensor, Tensor]:
    """([H, B] summed over tokens and features, [H, B] the tokens' sums taken absolutely)."""
    by_head = place.by_head(change).unflatten(0, (samples, -1)).movedim(-2, 0)  # H B ... features
    tokens = by_head.sum(-1).flatten(2)  # H B tokens
    return tokens.sum(-1), tokens.abs().sum(-1)
