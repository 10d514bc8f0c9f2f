"""What stands between the last block and the outputs: DINOv2's pooling, and which layers are the classifier."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class ClassAndMean(VisionTransformer):
    """timm's VisionTransformer with transformers' Dinov2ForImageClassification on top.

    The classifier reads the class token and the mean of the patches side by side.
    """

    def __init__(self, **options) -> None:  # type: ignore[no-untyped-def]
        super().__init__(**options)
        self.head = nn.Linear(2 * self.embed_dim, self.num_classes)

    def pool(self, x: Tensor, pool_type: str | None = None) -> Tensor:
        """[B, 2 D] from normed tokens [B, N, D]."""
        del pool_type
        return torch.cat([x[:, 0], x[:, self.num_prefix_tokens :].mean(1)], dim=1)


def classifiers(net: nn.Module) -> tuple[nn.Module, ...]:
    """The last layers that give the outputs; two in networks with a distillation token."""
    found = net.get_classifier()  # type: ignore[operator]
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)
