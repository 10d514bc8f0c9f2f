"""The images that drive each head most and least: by what it writes for their true class.

Letters: B images, G heads, K kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vhs.batch import Batch
from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.measures.direct import direct_scores
from vhs.measures.observation import Observer
from vhs.measures.scoring import Scope
from vhs.models.model import Model

CHUNK = 8
"""Images that are looked at together."""


class TopImages:
    """`add` batches of one condition, then read `most` and `least`. Equal scores keep the image that comes first.

    Raises MismatchError for a model whose heads have no direct way to the logits.
    """

    def __init__(self, model: Model, scope: Scope, count: int, observer: Observer) -> None:
        self.model, self._view, self._count = model, scope.views[0], count
        self._observer = observer
        none = torch.empty(len(model.grid), 0, device=model.device)
        self._kept = {sign: (none, none.long()) for sign in (1, -1)}

    def add(self, batch: Batch) -> None:
        with torch.inference_mode():
            for start in range(0, batch.size, CHUNK):
                self._add(batch.part(slice(start, min(start + CHUNK, batch.size))))

    def _add(self, batch: Batch) -> None:
        assert batch.positions_B is not None
        seen = self._observer.see(self.model.preprocess(batch.images_BCHW))
        found = direct_scores(seen, self.model, self._view, batch)
        if found is None:
            raise MismatchError(
                f"{self.model.name}: its heads have no direct path to the logits, by which --top-images chooses. "
                f"It is of timm's plain VisionTransformer with a linear classifier."
            )
        positions = batch.positions_B.expand_as(found)
        for sign, (scores, places) in self._kept.items():
            every, where = torch.cat([scores, sign * found], 1), torch.cat([places, positions], 1)
            order = every.nan_to_num(nan=-torch.inf).sort(dim=1, descending=True, stable=True).indices[:, : self._count]
            self._kept[sign] = every.gather(1, order), where.gather(1, order)

    def results(self) -> dict[str, Counts]:
        """Nothing is tallied."""
        return {}

    @property
    def most(self) -> list[list[tuple[int, float]]]:
        """For each head (position in the set, score in logits), the highest first."""
        return self._pairs(1)

    @property
    def least(self) -> list[list[tuple[int, float]]]:
        """The same, the lowest first."""
        return self._pairs(-1)

    def _pairs(self, sign: int) -> list[list[tuple[int, float]]]:
        scores, places = self._kept[sign]
        rows: list[tuple[Tensor, Tensor]] = list(zip(places, sign * scores, strict=True))
        return [list(zip(where.tolist(), score.tolist(), strict=True)) for where, score in rows]
