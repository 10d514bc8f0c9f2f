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
from vhs.models.engine import keeps, zero
from vhs.models.model import Model

FEW_TOKENS = 64


class Choice(NamedTuple):
    """Whether fused attention is used (None: as the model came), and whether the bits are kept."""

    fused: bool | None
    steady: bool


def settle(model: Model, images_BCHW: Tensor, stack: int) -> Choice:
    """Give `model` fused or plain attention, whichever keeps the bits; the faster one is tried first.

    On a CPU plain attention is faster for few tokens: a third of the time at 17, equal at 65, a fifth more at 197.
    Networks other than timm's plain ViT keep what they have.
    stack: how many variants a run stacks. images_BCHW: uint8, one tile.
    """
    if model.plain is None:
        return Choice(None, is_steady(model, images_BCHW, stack))
    before = [seam.attention(block).fused_attn for block in seam.blocks(model.plain)]
    plain_first = model.device.type == "cpu" and prefix.token_count(model.plain) < FEW_TOKENS
    for fused in (not plain_first, plain_first):
        use_fused(model, fused)
        if is_steady(model, images_BCHW, stack):
            return Choice(fused, True)
    for block, value in zip(seam.blocks(model.plain), before, strict=True):
        seam.attention(block).fused_attn = value  # type: ignore[misc]
    return Choice(None, False)


def use_fused(model: Model, fused: bool | None) -> None:
    """Set every attention of `model` to fused or plain; None leaves it."""
    if fused is None or model.plain is None:
        return
    for block in seam.blocks(model.plain):
        seam.attention(block).fused_attn = fused  # type: ignore[misc]


def is_steady(model: Model, images_BCHW: Tensor, stack: int) -> bool:
    """Whether the first stack's logits are equal bit for bit after the tile is reversed and shuffled."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(images_BCHW), generator=generator).flip(0).to(images_BCHW.device)
    straight, moved = (_logits(model, images, stack) for images in (images_BCHW, images_BCHW[order]))
    return torch.equal(straight[:, order], moved)


def _logits(model: Model, images_BCHW: Tensor, stack: int) -> Tensor:
    """[V, B, classes]: the sham and the first heads; of a network without heads the plain logits."""
    with torch.inference_mode(), model.autocast():
        pixels = model.preprocess(images_BCHW)
        if not model.has_heads:
            return model.net(pixels)[None]
        _, logits = next(iter(model.engine.sweep(pixels, stack, keeps(model.grid), [zero])))
        return logits
