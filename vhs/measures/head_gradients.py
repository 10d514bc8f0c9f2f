"""To which directions of its input each head of a layer answers, as in DiverseViT (Nicolicioiu et al. 2023,
arXiv:2308.16274).

With s the sum over samples of the largest logit and X what a layer's attention receives (behind its norm), head h has
the gradient g_h = ds / dX through that head alone: its values, queries and keys.

The published code runs one backward pass from the logits for every head. Here one pass gives ds / dZ, Z being what the
projection receives, and one more goes from there to queries, keys and values, where heads are still apart: the rows of
the layer's matrix that make a head's queries, keys and values then give its g_h. That is exact.

Letters: B images, N tokens, D width, H heads, W features a head, K = H W.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vhs.models import seam
from vhs.models.taps import ARRIVED, MADE, Seen, Tap

EPS = 1e-6
"""Gradients much shorter than this count as zero: dividing by their norm would explode when differentiated."""


def taps(layers: Sequence[int]) -> tuple[Tap, ...]:
    """What is needed of these layers."""
    return tuple(Tap(what, layer) for layer in layers for what in (MADE, ARRIVED))


def directions(net: nn.Module, logits_BC: Tensor, seen: Seen, layers: Sequence[int], *, again: bool) -> list[Tensor]:
    """float32 [B, H, N, D] of each layer: every head's g_h. again: whether these can be differentiated."""
    top = logits_BC.float().amax(1).sum()
    arrived = [seen[Tap(ARRIVED, layer)] for layer in layers]
    given = torch.autograd.grad(top, arrived, create_graph=again, retain_graph=True)
    found = []
    for layer, heads_BNK, given_BNK in zip(layers, arrived, given, strict=True):
        made = seen[Tap(MADE, layer)]
        (of_made,) = torch.autograd.grad(heads_BNK, made, given_BNK, create_graph=again, retain_graph=True)
        found.append(_to_input(net, layer, of_made))
    return found


def overlaps(direction_BHND: Tensor) -> Tensor:
    """[B, H, H]: squared cosines between heads, mean over tokens; about 1 on the diagonal."""
    norm = (direction_BHND.square().sum(-1, keepdim=True) + EPS**2).sqrt()
    unit_BNHD = (direction_BHND / norm).transpose(1, 2)
    return (unit_BNHD @ unit_BNHD.mT).square().mean(1)


def _to_input(net: nn.Module, layer: int, of_made_BNK: Tensor) -> Tensor:
    """[B, H, N, D] from the gradient with respect to queries, keys and values [B, N, 3 K], by the rows of each head."""
    block = seam.blocks(net)[layer]
    heads = seam.attention(block).num_heads
    weight = seam.incoming(block).weight
    with torch.autocast(of_made_BNK.device.type, enabled=False):
        split = of_made_BNK.float().unflatten(-1, (3, heads, -1))
        return torch.einsum("bnchw,chwd->bhnd", split, weight.float().unflatten(0, (3, heads, -1)))
