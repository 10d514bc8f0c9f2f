"""What an image's patches give the answer through all layers: attention rollout, and relevance by gradients.

Letters: B images, H heads, N tokens, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def rollout(maps: Sequence[Tensor]) -> Tensor:
    """float32 [B, N, N]: attention carried through the layers (Abnar & Zuidema 2020, arXiv:2005.00928).

    maps: [B, H, N, N] of each layer. Heads are averaged, the residual counts as much as the attention, rows sum to 1;
    later layers stand on the left. Maps that are identities give the identity; layers without heads pass by.
    """
    batch, _, tokens, _ = maps[0].shape
    identity = torch.eye(tokens, device=maps[0].device).expand(batch, -1, -1)
    joint = identity
    for layer in filter(_has_heads, maps):
        mixed = 0.5 * layer.float().mean(1) + 0.5 * identity
        joint = mixed / mixed.sum(-1, keepdim=True) @ joint
    return joint


def relevance(maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """float32 [B, N, N]: relevance of tokens to tokens (Chefer et al. 2021, arXiv:2103.15679, equations 5 and 6).

    gradients: of the target's logit with respect to each layer's map. R = 1; layer by layer R = R + A R, with A the
    mean over heads of the positive part of gradient x map. Rows are not normalised, as there for self-attention.
    """
    batch, _, tokens, _ = maps[0].shape
    joint = torch.eye(tokens, device=maps[0].device).expand(batch, -1, -1)
    for weights, gradient in zip(filter(_has_heads, maps), filter(_has_heads, gradients), strict=True):
        weighted = (gradient.float() * weights.float()).clamp(min=0).mean(1)
        joint = joint + weighted @ joint
    return joint


def _has_heads(layer_BHNN: Tensor) -> bool:
    return layer_BHNN.shape[1] > 0
