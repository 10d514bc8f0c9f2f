"""The reference for ablations: one full forward of timm's own network for every head, by a hook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from timm.layers import Attention
from torch import Tensor, nn

from vhs.models import seam
from vhs.models.engine import Engine
from vhs.models.model import Model
from vhs.models.parts import LocalAttention


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


def whole_passes(net: nn.Module, engine: Engine, pixels: Tensor) -> Tensor:
    """[U, B, C]: one whole forward a unit, with the head's slice zeroed by a hook of the test's own."""
    seams = getattr(engine, "seams", None)
    places = (
        [(p.projection, p.channels_last, p.interleaved, getattr(p.attention, "in_split", (0, 0))[1]) for p in seams]
        if seams
        else [(block.attn.proj, True, False, 0) for block in net.blocks]
    )
    found = [net(pixels)]
    for (projection, last, apart, own), heads in zip(places, engine.grid.per_layer, strict=True):
        for head in range(heads):

            def zero(_module, args, head=head, heads=heads, last=last, apart=apart, own=own):
                changed, axis = args[0].clone(), -1 if last else 1
                width = (own or changed.shape[axis]) // heads
                own = slice(head, None, heads) if apart else slice(head * width, (head + 1) * width)
                changed.movedim(axis, 0)[own] = 0
                return (changed, *args[1:])

            handle = projection.register_forward_pre_hook(zero)
            found.append(net(pixels))
            handle.remove()
    return torch.stack(found)


def own_features(model: Model, layer: int, total: int) -> int:
    """Features of a projection's input that are the heads': all, but in blocks whose MLP shares the projection."""
    blocks = getattr(model.net, "blocks", [])
    return getattr(blocks[layer], "in_split", (0, total))[1] if layer < len(blocks) else total


def replaced_logits(model: Model, images: Tensor, layer: int, gone: list[int], instead: Tensor) -> Tensor:
    """Logits with these heads' slices replaced, by a hook on a whole pass."""
    place = model.engine.seams[layer]
    projection, axis = place.projection, place.axis
    heads = model.grid.per_layer[layer]

    def put(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = args[0].clone()
        width = own_features(model, layer, changed.shape[axis]) // heads
        for head in gone:
            own = slice(head * width, (head + 1) * width)
            changed.movedim(axis, 0)[own] = instead.expand_as(changed).movedim(axis, 0)[own]
        return (changed, *args[1:])

    handle = projection.register_forward_pre_hook(put)
    with torch.inference_mode():
        logits = model.net(model.preprocess(images))
    handle.remove()
    return logits


def attention_maps(attn: Attention, tokens_BND: Tensor) -> Tensor:
    """float32 [B, H, N, N]: softmax attention, recomputed from the layer's normed input. Rows sum to 1."""
    batch, count, _ = tokens_BND.shape
    qkv = attn.qkv(tokens_BND).view(batch, count, 3, attn.num_heads, attn.head_dim)
    q, k, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    scores = (attn.q_norm(q) * attn.scale) @ attn.k_norm(k).transpose(-2, -1)
    if isinstance(attn, LocalAttention):
        scores = scores + attn.mask(tokens_BND)
    return scores.float().softmax(-1)


def values(attn: Attention, tokens_BND: Tensor) -> Tensor:
    """[B, H, N, W]: what a layer's attention averages, from its normed input."""
    batch, count, _ = tokens_BND.shape
    return attn.qkv(tokens_BND).view(batch, count, 3, attn.num_heads, attn.head_dim)[:, :, 2].transpose(1, 2)


def as_the_source_does(net: nn.Module, images: Tensor, layer: int) -> Tensor:
    """[B, H, N, D]: the gradient of the summed largest logits with respect to what the attention receives, all heads'
    but one zeroed on its way back through the projection's input (a backward pass from the logits for each head)."""
    attention = seam.attention(seam.blocks(net)[layer])
    heads, width = attention.num_heads, attention.head_dim
    received: list[Tensor] = []

    def tap(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        received.append(args[0].detach().requires_grad_())  # a leaf: nothing comes by the residual
        return (received[-1], *args[1:])

    found = []
    for head in range(heads):
        keep = torch.zeros(heads * width, dtype=images.dtype)
        keep[head * width : (head + 1) * width] = 1
        zeroed = attention.proj.register_full_backward_hook(lambda _m, grads, _o, keep=keep: (grads[0] * keep,))
        handle = attention.register_forward_pre_hook(tap)
        net(images).amax(1).sum().backward()
        found.append(received[-1].grad)
        zeroed.remove(), handle.remove()
    return torch.stack(found, 1)
