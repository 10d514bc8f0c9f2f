"""The matrices of one head: what it writes into the residual stream, what it reads, how many directions they have.

A head's output z (W features) goes on as W_O z; what is asked of it (norms, angles, ranks) needs only a root of
W_O^T W_O, W x W instead of D x D. Whether a module's weights are what they are called is not believed but tried: on the
tokens it received they must give the values and the map that were seen.

Letters: H heads, W features a head, D width, N tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from vhs.models.discovery import CONVOLUTIONS, Seam
from vhs.models.maps import Watched

SCALES = ("ls1", "ls", "gamma_1", "gamma1")
"""What LayerScale behind an attention is called, in its block."""
INPUTS = ({"qkv": 3}, {"q": 1, "kv": 2}, {"q": 1, "k": 1, "v": 1}, {"q_proj": 1, "k_proj": 1, "v_proj": 1})
"""What makes queries, keys and values: a layer's name, and how many of the three it makes."""


def output_matrices(net: nn.Module, seam: Seam) -> Tensor | None:
    """float32 [H, D, W]: what each head writes of its output, LayerScale included; None if that is no one matrix."""
    linear = next((part for part in seam.projection.modules() if isinstance(part, (nn.Linear, *CONVOLUTIONS))), None)
    inner = [part for part in seam.projection.modules() if next(part.children(), None) is None]
    weight = getattr(linear, "weight", None)
    simple = all(part is linear or isinstance(part, (nn.Identity, nn.Dropout)) for part in inner)
    if weight is None or not simple or weight.flatten(1).shape[1] != weight.shape[1] or weight.dim() not in (2, 4):
        return None
    matrix = weight.detach().float().flatten(1)
    block = net.get_submodule(seam.path.rpartition(".")[0])
    scale = next((getattr(block, name) for name in SCALES if getattr(block, name, None) is not None), None)
    gain = getattr(scale, "gamma", scale)
    if isinstance(gain, Tensor) and gain.numel() == len(matrix):
        matrix = matrix * gain.detach().flatten()[:, None]
    return replace(seam, channels_last=True).by_head(matrix).movedim(-2, 0)


def roots(matrices_HDW: Tensor) -> Tensor:
    """float32 [H, W, W]: R with R R^T = M^T M, so that z R has the norms and angles of M z."""
    gram = matrices_HDW.double().mT @ matrices_HDW.double()
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp(min=0).sqrt()[:, None, :]).float()


def effective_rank(gram: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values (Roy & Vetterli 2007) of matrices Y with `gram` Y^T Y.

    gram: [..., W, W], float64. In [1, W]; 0 of a matrix of zeros.
    """
    # On a GPU the solver tells the host whether it came to an end, a wait that fake tensors do not show: once a chunk.
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = singular.sum(-1, keepdim=True)
    share = singular / total.clamp(min=1e-300)
    rank = (-(share * share.clamp(min=1e-300).log()).sum(-1)).exp()
    return torch.where(total[..., 0] > 0, rank, 0.0)


def ranks(seam: Seam, seen: Watched, written_HDW: Tensor | None) -> Mapping[str, Tensor]:
    """float64 [H]: effective rank of each head's W_V W_O (`rank_vo`) and W_Q W_K (`rank_qk`), where they are known.

    Of W_Q W_K only where the scores are the scaled products of queries and keys and nothing else: rotary positions,
    biases of position and norms of queries and keys are no part of that matrix.
    """
    made = _inputs(seam) if seam.heads else None
    if made is None or seen.received is None or seen.received.dim() != 3:
        return {}
    found = {}
    with torch.no_grad():
        query, key, value = ((weight.unflatten(0, (seam.heads, -1)), bias) for weight, bias in made)
        if written_HDW is not None and _gives_values(value, seen):
            found["rank_vo"] = _rank_of_product(value[0], written_HDW.mT)
        if _gives_map(query, key, seen, getattr(seam.attention, "scale", None)):
            found["rank_qk"] = _rank_of_product(query[0], key[0])
    return found


def _inputs(seam: Seam) -> list[tuple[Tensor, Tensor | None]] | None:
    """(weight [H * W, D], bias) of queries, keys and values."""
    for names in INPUTS:
        layers = [getattr(seam.attention, name, None) for name in names]
        if all(isinstance(layer, nn.Linear) for layer in layers):
            parts: list[tuple[Tensor, Tensor | None]] = []
            for layer, count in zip(layers, names.values(), strict=True):
                assert isinstance(layer, nn.Linear)
                biases = layer.bias.chunk(count) if layer.bias is not None else [None] * count
                parts += zip(layer.weight.detach().float().chunk(count), biases, strict=True)
            return parts if all(len(weight) % seam.heads == 0 for weight, _ in parts) else None
    return None


Made = tuple[Tensor, "Tensor | None"]


def _of(made: Made, received_BND: Tensor) -> Tensor:
    """[B, H, N, W]."""
    weight_HWD, bias = made
    found = torch.einsum("bnd,hwd->bhnw", received_BND.float(), weight_HWD)
    return found if bias is None else found + bias.detach().view(weight_HWD.shape[0], 1, -1)


def _gives_values(value: Made, seen: Watched) -> bool:
    """Up to what all tokens share: some biases stand elsewhere."""
    assert seen.received is not None
    ours, theirs = _of(value, seen.received), seen.values_RHKW.float()
    if ours.shape != theirs.shape:
        return False
    apart = ours - theirs
    return bool(torch.allclose(apart, apart[:, :, :1].expand_as(apart), atol=1e-3 * float(theirs.std()) + 1e-6))


def _gives_map(query: Made, key: Made, seen: Watched, scale: object) -> bool:
    assert seen.received is not None
    q, k = _of(query, seen.received), _of(key, seen.received)
    factor = float(scale) if isinstance(scale, (int, float)) else q.shape[-1] ** -0.5
    weights = seen.weights_RHQK
    if (*q.shape[:3], k.shape[2]) != weights.shape or q.shape[-1] != k.shape[-1]:
        return False
    return bool(torch.allclose((q * factor @ k.mT).softmax(-1), weights, atol=1e-3, rtol=1e-2))


def _rank_of_product(a_HWD: Tensor, b_HWD: Tensor) -> Tensor:
    """Effective rank of a^T b, W wide at most: its singular values are those of root(a a^T)^T root(b b^T)."""
    left, right = roots(a_HWD.mT).double(), roots(b_HWD.mT).double()
    inner = left.mT @ right
    return effective_rank(inner.mT @ inner)
