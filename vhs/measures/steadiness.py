"""Do a sample's logits keep their bits wherever the sample stands in its tile? A test at the start of a run.

Kernels choose their path by shape and alignment, so that no rule holds for every model and machine:
one tile is permuted and compared.

Letters: B samples of one tile, C channels, H height, W width, D model width, N tokens, V variants.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vhs.models import prefix, seam
from vhs.models.model import Model

FEW_TOKENS = 64


class Choice(NamedTuple):
    """Whether fused attention is used (None: as the model came), and whether the bits are kept."""

    fused: bool | None
    steady: bool


def settle(model: Model, images_BCHW: Tensor, group: int) -> Choice:
    """Give `model` fused or plain attention, whichever keeps the bits; the faster one is tried first.

    On a CPU plain attention is faster for few tokens: a third of the time at 17, equal at 65, a fifth more at 197.
    group: how many variants a run stacks. images_BCHW: uint8, one tile.
    """
    before = [seam.attention(block).fused_attn for block in seam.blocks(model.net)]
    plain_first = model.device.type == "cpu" and model.tokens < FEW_TOKENS
    for fused in (not plain_first, plain_first):
        use_fused(model, fused)
        if is_steady(model, images_BCHW, group):
            return Choice(fused, True)
    for block, value in zip(seam.blocks(model.net), before, strict=True):
        seam.attention(block).fused_attn = value  # type: ignore[misc]
    return Choice(None, False)


def use_fused(model: Model, fused: bool | None) -> None:
    """Set every attention of `model` to fused or plain; None leaves it."""
    if fused is None:
        return
    for block in seam.blocks(model.net):
        seam.attention(block).fused_attn = fused  # type: ignore[misc]


def is_steady(model: Model, images_BCHW: Tensor, group: int) -> bool:
    """Whether logits, intact and stacked, are equal bit for bit after the tile is reversed and shuffled."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(images_BCHW), generator=generator).flip(0).to(images_BCHW.device)
    straight, moved = (_logits(model, images, group) for images in (images_BCHW, images_BCHW[order]))
    return torch.equal(straight[:, order], moved)


def _logits(model: Model, images_BCHW: Tensor, group: int) -> Tensor:
    """[1 + V, B, classes]: the intact logits and those of `group` untouched variants of layer 0."""
    found = []
    with torch.inference_mode(), model.autocast():
        for state in prefix.intact(model.net, model.preprocess(images_BCHW)):
            if isinstance(state, Tensor):
                found.append(state)
            elif state.layer == 0:
                stacked = state.residual_BND.repeat(group, 1, 1)
                found += prefix.suffix(model.net, 0, stacked, model.kernels).split(len(images_BCHW))
    return torch.stack(found)
