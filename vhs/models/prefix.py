"""One intact pass that stops at every layer, and the suffix that continues from there.

Letters: B images (one tile), V variants, M = V * B, N tokens, Q tokens the classifier reads, D width,
H heads, K = H * features a head, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor

from vhs.models import seam


@dataclass(frozen=True)
class LayerState:
    """The intact pass at one layer, between its attention and its MLP.

    residual_BND: the residual stream with the intact attention added.
    heads_BNK: the heads' outputs at the seam. In the last block N is only the Q tokens the classifier reads.
    """

    layer: int
    residual_BND: Tensor
    heads_BNK: Tensor


def queries_needed(net: VisionTransformer) -> int | None:
    """How many leading tokens the classifier reads after the last block; None for all of them."""
    if net.global_pool != "token":
        return None
    return 2 if isinstance(net, VisionTransformerDistilled) else 1


def token_count(net: VisionTransformer) -> int:
    """Tokens in the sequence."""
    return net.patch_embed.num_patches + net.num_prefix_tokens


def embed(net: VisionTransformer, pixels_BCHW: Tensor) -> Tensor:
    """Normalised pixels -> the residual stream [B, N, D] before the first block, by timm's own parts."""
    tokens = net._pos_embed(net.patch_embed(pixels_BCHW))
    return net.norm_pre(net.patch_drop(tokens))


def intact(net: VisionTransformer, pixels_BCHW: Tensor) -> Iterator[LayerState | Tensor]:
    """Yield a LayerState for each block in order, then the intact logits [B, C]."""
    tokens = embed(net, pixels_BCHW)
    last = len(seam.blocks(net)) - 1
    for layer, block in enumerate(seam.blocks(net)):
        queries = queries_needed(net) if layer == last else None
        state = _layer_state(block, layer, tokens, queries)
        yield state
        tokens = _mlp(block, state.residual_BND)
    yield classify(net, tokens)


def suffix(net: VisionTransformer, layer: int, residual_MND: Tensor, kernels: Kernels | None = None) -> Tensor:
    """Logits [M, C] from the residual stream between the attention and the MLP of `layer`."""
    run = kernels or EAGER
    last = len(seam.blocks(net)) - 1
    tokens = run.mlp(seam.blocks(net)[layer], residual_MND)
    for block in seam.blocks(net)[layer + 1 : last]:
        tokens = run.block(block, tokens)
    if layer < last:
        tokens = run.last(seam.blocks(net)[last], tokens, queries_needed(net))
    return classify(net, tokens)


def classify(net: VisionTransformer, tokens_BQD: Tensor) -> Tensor:
    """Logits from the tokens the classifier reads, by timm's own norm, pooling and head."""
    return net.forward_head(net.norm(tokens_BQD))


def contribution(block: Block, heads_BNK: Tensor, keep_VH: np.ndarray) -> Tensor:
    """[V, B, N, D]: what goes from the residual stream with the heads not kept, LayerScale included."""
    return block.ls1(seam.contribution(seam.attention(block), heads_BNK, keep_VH))


def _layer_state(block: Block, layer: int, tokens_BND: Tensor, queries: int | None) -> LayerState:
    normed = block.norm1(tokens_BND)
    if queries is None:
        heads = seam.head_outputs(seam.attention(block), normed)
    else:
        heads = seam.class_head_outputs(seam.attention(block), normed, queries)
        tokens_BND = tokens_BND[:, :queries]
    residual = seam.beside_attention(block, tokens_BND) + block.ls1(seam.project(seam.attention(block), heads))
    return LayerState(layer, residual, heads)


def _last_block(block: Block, tokens_MND: Tensor, queries: int | None) -> Tensor:
    if queries is None:
        return block(tokens_MND)
    return _mlp(block, _layer_state(block, -1, tokens_MND, queries).residual_BND)


def _mlp(block: Block, residual_BND: Tensor) -> Tensor:
    return residual_BND + block.ls2(block.mlp(block.norm2(residual_BND)))


def _block(block: Block, tokens_BND: Tensor) -> Tensor:
    return block(tokens_BND)


@dataclass(frozen=True)
class Kernels:
    """What the suffix is made of: a block, a block from its MLP on, and the last block as far as it is read."""

    block: Callable[[Block, Tensor], Tensor]
    mlp: Callable[[Block, Tensor], Tensor]
    last: Callable[[Block, Tensor, int | None], Tensor]


EAGER = Kernels(_block, _mlp, _last_block)


@cache
def compile_kernels() -> Kernels:
    """The same through torch.compile, once for all blocks of one shape."""
    import torch

    return Kernels(*(torch.compile(part, dynamic=False) for part in (_block, _mlp, _last_block)))
