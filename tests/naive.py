"""The reference for ablations: one full forward of timm's own model for every head, by a hook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def without_head(net: nn.Module, layer: int, head: int) -> Iterator[None]:
    """Inside the block timm's forward runs with this head's slice zeroed where the projection reads it."""
    attn = net.blocks[layer].attn
    columns = slice(head * attn.head_dim, (head + 1) * attn.head_dim)

    def zero(_module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        heads = inputs[0].clone()
        heads[..., columns] = 0
        return (heads,)

    handle = attn.proj.register_forward_pre_hook(zero)
    try:
        yield
    finally:
        handle.remove()


def ablated_logits(net: nn.Module, pixels_BCHW: Tensor) -> Tensor:
    """[heads, B, C] in layer, head order."""
    logits = []
    with torch.inference_mode():
        for layer, block in enumerate(net.blocks):
            for head in range(block.attn.num_heads):
                with without_head(net, layer, head):
                    logits.append(net(pixels_BCHW))
    return torch.stack(logits)
