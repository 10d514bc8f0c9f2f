"""From the residual stream after the last block to the logits, with the final norms' statistics frozen: a linear map.

Letters: B images, N tokens, P pooled vectors (1, or 2 with a distillation token), D width, K = H * features a head,
H heads, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vhs.errors import MismatchError
from vhs.models import seam
from vhs.models.parts import BareBlock
from vhs.models.prefix import queries_needed


@dataclass(frozen=True)
class Readout:
    """Of B images: how much each token counts in each pooled vector, and what turns those into logits.

    tokens_PBN: the pooling and the token norm's 1 / deviation; gains_PBD: the norms' weights and the pooled norm's
    1 / deviation; heads: a linear classifier for each pooled vector, whose logits are averaged.
    """

    tokens_PBN: Tensor
    gains_PBD: Tensor
    heads: tuple[nn.Linear, ...]

    def of_heads(self, net: VisionTransformer, layer: int, heads_BNK: Tensor) -> Tensor:
        """[H, B, C]: what each head of a layer gives the logits on the direct path, from its output at the seam."""
        block = seam.blocks(net)[layer]
        logits = []
        for tokens_BN, gains_BD, head in zip(self.tokens_PBN, self.gains_PBD, self.heads, strict=True):
            pooled_B1K = torch.einsum("bn,bnk->bk", tokens_BN, heads_BNK)[:, None]
            given_HBD = block.ls1(seam.head_contributions(seam.attention(block), pooled_B1K))[:, :, 0]
            logits.append((given_HBD * gains_BD) @ head.weight.T)
        return torch.stack(logits).mean(0)


def first_reaching(net: VisionTransformer) -> int:
    """The first layer whose heads reach the logits directly: behind the last attention without a residual."""
    bare = [layer for layer, block in enumerate(seam.blocks(net)) if isinstance(block, BareBlock)]
    return bare[-1] if bare else 0


def readout(net: VisionTransformer, residual_BND: Tensor, *, partly: bool = False) -> Readout:
    """The map for these images, from their residual stream after the last block.

    partly: whether it may be of the heads from `first_reaching` on only. Raises MismatchError for pooling or norms that
    are no such map.
    """
    if first_reaching(net) and not partly:
        raise MismatchError("--method direct: a block of the model has no residual around its attention.")
    pools_PN = _pools(net, residual_BND)
    scale_BN, weight_D = _frozen(net.norm, residual_BND)
    gains = []
    for pooled_BD in torch.einsum("pn,bnd->pbd", pools_PN, net.norm(residual_BND)):
        scale_B, pooled_weight_D = _frozen(net.fc_norm, pooled_BD)
        gains.append(scale_B[:, None] * pooled_weight_D * weight_D)
    named = (net.head, net.head_dist) if isinstance(net, VisionTransformerDistilled) else (net.head,)
    heads = tuple(head for head in named if isinstance(head, nn.Linear))
    if len(heads) != len(named):
        raise MismatchError("--method direct: the model has no linear classifier.")
    return Readout(pools_PN[:, None] * scale_BN, torch.stack(gains), heads)


def _pools(net: VisionTransformer, residual_BND: Tensor) -> Tensor:
    """[P, N]: what each token counts in each pooled vector."""
    count, queries = residual_BND.shape[1], queries_needed(net)
    if queries:
        return torch.eye(queries, count, dtype=residual_BND.dtype, device=residual_BND.device)
    if net.global_pool != "avg":
        raise MismatchError(f"--method direct: the model pools by {net.global_pool}; class token or average is needed.")
    pool_1N = residual_BND.new_ones(1, count)
    pool_1N[:, : net.num_prefix_tokens] = 0
    return pool_1N / pool_1N.sum()


def _frozen(norm: nn.Module, received: Tensor) -> tuple[Tensor, Tensor]:
    """(1 / deviation of what the norm receives, its weight)."""
    one = received.new_ones(())
    if isinstance(norm, nn.Identity):
        return received.new_ones(received.shape[:-1]), one
    if not isinstance(norm, nn.LayerNorm):
        raise MismatchError(f"--method direct: its final norm is {type(norm).__name__}; LayerNorm is needed.")
    scale = (received.var(-1, correction=0) + norm.eps).rsqrt()
    return scale, one if norm.weight is None else norm.weight
