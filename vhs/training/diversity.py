"""DiverseViT's regulariser: heads of a layer shall answer to different directions of their input (Nicolicioiu et al.
2023, arXiv:2308.16274, by its published code).

With s the sum over samples of the largest logit and X what a layer's attention receives (behind its norm), head h has
the gradient g_h = ds / dX through that head alone: its values, queries and keys. The term is the mean over samples and
tokens of the squared cosines between the g_h of one layer, summed over ordered pairs of different heads and divided by
H^2 (not by H (H - 1)), as the code has it. It is differentiated again, through everything.

Letters: B images, N tokens, D width, H heads, W features a head, K = H W, L layers, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vhs.errors import UsageError
from vhs.measures.head_gradients import directions, overlaps
from vhs.models import seam
from vhs.models.taps import Seen
from vhs.seeds import hash64


def layers_of(text: str, depth: int) -> list[int]:
    """`last`, `all` or `3,5` -> numbers of layers. Raises UsageError."""
    if text in ("last", "all"):
        return [depth - 1] if text == "last" else list(range(depth))
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--diversity-layers {text}: expected last, all, or layers such as 3,5.")
    found = sorted({int(part) for part in parts})
    if found[-1] >= depth:
        raise UsageError(f"--diversity-layers {text}: the model has layers 0 to {depth - 1}.")
    return found


def differentiable_twice(net: nn.Module, first: int) -> None:
    """From layer `first` on attention without fused kernels, in place: these are differentiated once."""
    for block in seam.blocks(net)[first:]:
        seam.attention(block).fused_attn = False  # type: ignore[misc]


def term(
    net: nn.Module, logits_BC: Tensor, seen: Seen, layers: Sequence[int], drawn: Sequence[Tensor | None]
) -> Tensor:
    """The regulariser, mean over layers; between 0 and (H - 1) / H. drawn: of each layer the [P, 2] pairs that stand
    for all, None for all."""
    found = []
    for of_layer, pairs in zip(directions(net, logits_BC, seen, layers, again=True), drawn, strict=True):
        overlap_HH = overlaps(of_layer).mean(0)
        heads = len(overlap_HH)
        if pairs is None:
            found.append((overlap_HH.sum() - overlap_HH.diagonal().sum()) / heads**2)
        else:
            found.append(overlap_HH[pairs[:, 0], pairs[:, 1]].mean() * (heads - 1) / heads)
    return torch.stack(found).mean()


def draw(heads: int, count: int, *seeds: object) -> Tensor:
    """int64 [P, 2] on the host: `count` of the pairs of heads, or all of them."""
    pairs = torch.combinations(torch.arange(heads))
    generator = torch.Generator().manual_seed(hash64("pairs", *seeds) & (2**63 - 1))
    return pairs[torch.randperm(len(pairs), generator=generator)[:count].sort().values]


def times_chance(value: float, heads: int, width: int) -> float:
    """D times the mean over pairs of different heads, 1 for directions by chance; value: that of `term`."""
    return value * width * heads / (heads - 1)
