"""The head seam: the input of the attention output projection, where heads lie apart.

The one module that touches the inside of timm's attention. timm's own forward is called with its
projection swapped out; only the one-query attention of the last block is ours.

Letters: B images, N tokens, Q query tokens, D model width, H heads, W features a head, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from vhs.errors import MismatchError
from vhs.grid import HeadGrid
from vhs.models import surgery
from vhs.models.parts import BareBlock, LocalAttention


def head_grid(net: nn.Module) -> HeadGrid:
    """The heads of a timm VisionTransformer.

    Raises MismatchError, with the reason, for a network whose heads cannot be reached this way.
    """
    reason = refusal(net)
    if reason:
        raise MismatchError(f"{type(net).__name__}: {reason}. A timm VisionTransformer was expected.")
    modules = [attention(block) for block in blocks(net)]
    return HeadGrid(tuple(module.num_heads for module in modules), kept=surgery.numbers_of(modules))


def blocks(net: nn.Module) -> Sequence[Block]:
    """The transformer blocks in order."""
    return cast(Sequence[Block], net.blocks)


def projection(block: Block) -> nn.Linear:
    """The output projection, whose input is the seam."""
    return attention(block).proj


def incoming(block: Block) -> nn.Linear:
    """What makes queries, keys and values, of all heads side by side."""
    return attention(block).qkv


def attention(block: Block) -> Attention:
    """The attention module of a block."""
    return cast(Attention, block.attn)


def refusal(net: nn.Module) -> str | None:
    """Why the heads of this network cannot be reached here; None when they can."""
    if not isinstance(net, VisionTransformer):
        return "not a timm VisionTransformer"
    if type(net) not in (VisionTransformer, VisionTransformerDistilled):
        return "a subclass with a forward of its own"
    first = blocks(net)[0]
    if any(type(block) not in (Block, BareBlock) for block in blocks(net)):
        return f"its blocks are {type(first).__name__}, not the standard one"
    if any(not isinstance(block.attn, Attention) for block in blocks(net)):
        return f"its attention is {type(first.attn).__name__}, not the standard one"
    if net.attn_pool is not None:
        return "it pools by attention"
    return None


@cache
def attention_of_width(head_width: int, base: type[Attention] = Attention) -> type[Attention]:
    """A timm Attention class whose heads have `head_width` features whatever the model's width.

    A class, not a partial, because timm asks whether it is a subclass.
    """

    class WideAttention(base):  # type: ignore[valid-type, misc]
        def __init__(self, dim: int, num_heads: int, **options: object) -> None:
            super().__init__(dim, num_heads, attn_head_dim=head_width, **options)

    return WideAttention


def beside_attention(block: Block, tokens_BND: Tensor) -> Tensor | float:
    """What the residual stream has beside a block's attention: the tokens; nothing in a block without that residual."""
    return 0.0 if isinstance(block, BareBlock) else tokens_BND


@contextmanager
def without_projection(attn: Attention) -> Iterator[nn.Linear]:
    """Inside the block, calling `attn` returns what its projection would have received; yields the projection."""
    projection = attn.proj
    attn.proj = nn.Identity()  # type: ignore[assignment]
    try:
        yield projection
    finally:
        attn.proj = projection


def head_outputs(attn: Attention, tokens_BND: Tensor) -> Tensor:
    """[B, N, H * W]: the heads' outputs at the seam, by timm's own forward."""
    with without_projection(attn):
        return attn(tokens_BND)


def class_head_outputs(attn: Attention, tokens_BND: Tensor, queries: int) -> Tensor:
    """[B, Q, H * W]: the heads' outputs for the first `queries` tokens alone, keys over all tokens.

    What a classifier that reads only the class token needs of the last block.
    """
    batch, count, _ = tokens_BND.shape
    inner = attn.attn_dim
    weight, bias = attn.qkv.weight, attn.qkv.bias
    q = F.linear(tokens_BND[:, :queries], weight[:inner], None if bias is None else bias[:inner])
    kv = F.linear(tokens_BND, weight[inner:], None if bias is None else bias[inner:])
    q = q.view(batch, queries, attn.num_heads, attn.head_dim).transpose(1, 2)
    k, v = kv.view(batch, count, 2, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    q, k = attn.q_norm(q), attn.k_norm(k)
    mask = attn.mask(tokens_BND)[:queries] if isinstance(attn, LocalAttention) else None
    if attn.fused_attn:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attn.scale)
    else:
        scores = (q * attn.scale) @ k.transpose(-2, -1)
        out = (scores if mask is None else scores + mask).softmax(-1) @ v
    out = attn.norm(out.transpose(1, 2).reshape(batch, queries, inner))
    gate = getattr(attn, "gate", None)  # timm has it since 1.0.28
    return out if gate is None else out * gate(tokens_BND[:, :queries]).sigmoid()


def scores(attn: Attention, q_BHNW: Tensor, k_BHNW: Tensor) -> Tensor:
    """[B, H, N, N], float32: what the softmax receives, from what `q_norm` and `k_norm` gave; fused attention keeps it
    to itself."""
    with torch.autocast(q_BHNW.device.type, enabled=False):
        found = (q_BHNW.float() * attn.scale) @ k_BHNW.float().mT
        return found + attn.mask(q_BHNW[:, 0]).float() if isinstance(attn, LocalAttention) else found


def project(attn: Attention, heads_BNK: Tensor) -> Tensor:
    """The output projection with its bias: all heads' contribution to the residual stream."""
    return attn.proj(heads_BNK)


def contribution(attn: Attention, heads_BNK: Tensor, keep_VH: np.ndarray) -> Tensor:
    """[V, B, N, D]: what goes from the residual stream with the heads that each row of `keep_VH` does not keep.

    keep_VH: weights of the heads, on the host, where the way is chosen. One head a row costs that head's part of the
    projection only.
    """
    # Three ways to one result, the cheapest that fits. The usual sweep removes one whole head a row, in order: a slice
    # of the projection. The sham removes none and some rows one: that head's part, times what is gone of it. Layers,
    # pairs and rescaled heads remove several: the whole projection of the masked heads.
    if not attn.num_heads:  # nothing goes from a layer without heads
        return heads_BNK.new_zeros(len(keep_VH), *heads_BNK.shape[:2], attn.proj.out_features)
    gone_VH = 1 - keep_VH
    first_V, changed_V, weight_V = gone_VH.argmax(1), (gone_VH != 0).sum(1), gone_VH.sum(1)
    one_each = (changed_V == 1).all() and (weight_V == 1).all()
    if one_each and (np.diff(first_V) == 1).all():
        return head_contributions(attn, heads_BNK, slice(int(first_V[0]), int(first_V[-1]) + 1))  # nothing is copied
    if changed_V.max() <= 1:
        contributions = head_contributions(attn, heads_BNK, torch.from_numpy(first_V))
        return contributions * _beside(weight_V, heads_BNK).view(-1, 1, 1, 1)
    mask = _beside(gone_VH, heads_BNK).repeat_interleave(attn.head_dim, dim=1)
    return F.linear(heads_BNK * mask[:, None, None], attn.proj.weight)


def _beside(values: np.ndarray, like: Tensor) -> Tensor:
    """On the device and of the type of `like`, without waiting for what is queued there."""
    return torch.from_numpy(values).to(like.device, like.dtype, non_blocking=True)


def head_contributions(attn: Attention, heads_BNK: Tensor, chosen: slice | Tensor = slice(None)) -> Tensor:
    """[V, B, N, D]: what each of the `chosen` heads adds to the residual stream through the projection, bias apart.

    Summed over all heads, plus the bias, it is `project`. chosen: numbers are int64, on the host.
    """
    if isinstance(chosen, Tensor):
        chosen = chosen.to(heads_BNK.device, non_blocking=True)
    batch, count, _ = heads_BNK.shape
    z_VBnW = heads_BNK.view(batch * count, attn.num_heads, attn.head_dim).transpose(0, 1)[chosen]
    w_VWD = attn.proj.weight.unflatten(1, (attn.num_heads, attn.head_dim)).permute(1, 2, 0)[chosen]
    return torch.bmm(z_VBnW, w_VWD).view(len(z_VBnW), batch, count, w_VWD.shape[-1])
