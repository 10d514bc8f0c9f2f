"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685) of queries and values, merged when it is saved.

The learned part is added to the weight, not to the output, so that timm's attention runs unchanged and the merged
weight is the adapted one to the bit. Letters: D width, K = heads * head width, R rank.
"""

from __future__ import annotations

import copy

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vhs.models import seam
from vhs.models.pooling import classifiers

ALPHA = 2.0
"""Factor on the low-rank part, alpha / rank (16 / 8 in Bahador & Lankarany 2025)."""


class LowRank(nn.Module):
    """weight [3 K, D] -> weight with ALPHA * up @ down added to the rows of queries and values."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        inner, width = weight.shape[0] // 3, weight.shape[1]
        self.inner = inner
        self.down_q, self.down_v = (nn.Parameter(_uniform(rank, width, weight)) for _ in range(2))
        self.up_q, self.up_v = (nn.Parameter(weight.new_zeros(inner, rank)) for _ in range(2))

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight; the first time, with `up` zero, the weight itself."""
        query, key, value = weight.split(self.inner)
        return torch.cat([query + ALPHA * self.up_q @ self.down_q, key, value + ALPHA * self.up_v @ self.down_v])


def adapt(net: VisionTransformer, rank: int) -> None:
    """Freeze all but the classifier and low-rank parts of every block's queries and values, in place."""
    net.requires_grad_(False)
    for block in seam.blocks(net):
        made = seam.incoming(block)
        if not made.out_features:  # of a layer that lost its heads
            continue
        parametrize.register_parametrization(made, "weight", LowRank(made.weight, rank))
    for module in classifiers(net):
        module.requires_grad_(True)


def merge(net: nn.Module) -> nn.Module:
    """A copy in eval mode with plain weights, whatever was learned of them apart (gates, too)."""
    copied = copy.deepcopy(net).eval()
    for path, module in list(copied.named_modules()):
        if parametrize.is_parametrized(module, "weight"):
            copied.set_submodule(path, _plain(module))  # removing the parametrization would change the original's class
    return copied


def _plain(module: nn.Module) -> nn.Linear:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    linear = nn.Linear(1, 1, bias=bias is not None)  # of no size: torch warns of weights without elements
    linear.out_features, linear.in_features = weight.shape
    linear.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        assert isinstance(bias, Tensor)
        linear.bias = nn.Parameter(bias.detach().clone())
    return linear


def _uniform(rank: int, width: int, like: Tensor) -> Tensor:
    """nn.Linear's initial weights."""
    bound = width**-0.5
    return torch.empty(rank, width, dtype=like.dtype).uniform_(-bound, bound).to(like.device)
