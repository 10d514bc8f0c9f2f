"""What training minimises: cross-entropy with label smoothing and timm's mixup, or squared errors of targets.

Letters: B samples, C classes, T targets.
"""

from __future__ import annotations

import torch.nn.functional as F
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor

from vhs.training.recipe import Recipe


class Criterion:
    """The loss of a recipe. outputs: classes, or targets, which are standardised."""

    def __init__(self, recipe: Recipe, outputs: int, *, regression: bool) -> None:
        self._regression = regression
        self._smoothing = recipe.label_smoothing
        self._mixup = None
        if recipe.mixes and not regression:
            self._mixup = Mixup(
                mixup_alpha=recipe.mixup, cutmix_alpha=recipe.cutmix, prob=recipe.mix_prob,
                switch_prob=recipe.mix_switch, label_smoothing=recipe.label_smoothing, num_classes=outputs,
            )  # fmt: skip

    def mix(self, pixels_BCHW: Tensor, answers_B: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels and answers, mixed by draws of the global NumPy generator, which the caller seeds."""
        if self._mixup is None:
            return pixels_BCHW, answers_B
        return self._mixup(pixels_BCHW, answers_B)

    def __call__(self, outputs_BC: Tensor, answers: Tensor) -> Tensor:
        """Nats, or squared deviations, averaged over samples (and targets)."""
        if self._regression:
            return F.mse_loss(outputs_BC, answers)
        if answers.dim() == 2:
            return SoftTargetCrossEntropy()(outputs_BC, answers)
        return F.cross_entropy(outputs_BC, answers, label_smoothing=self._smoothing)
