"""Multiply-adds of a forward pass and of a sweep, counted from shapes: matrix products and attention.

One multiply-add is 2 FLOPs. Letters: N tokens, Q tokens the classifier reads, D width, K = heads * head width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vhs.grid import Unit
from vhs.models import seam
from vhs.models.prefix import queries_needed, token_count


@dataclass(frozen=True)
class Layer:
    """Multiply-adds of one block for one image: attention up to the seam, the product after it, the MLP."""

    attention: int
    projection: int
    mlp: int
    heads: int

    @property
    def whole(self) -> int:
        return self.attention + self.projection + self.mlp


@dataclass(frozen=True)
class Costs:
    """Multiply-adds for one image. embed, classify: before the first block and after the last."""

    embed: int
    layers: tuple[Layer, ...]
    last_read: Layer
    classify: int

    @property
    def forward(self) -> int:
        """One forward pass as timm runs it."""
        return self.embed + sum(layer.whole for layer in self.layers) + self.classify

    @property
    def heads(self) -> int:
        return sum(layer.heads for layer in self.layers)

    @property
    def naive(self) -> int:
        """The intact pass and a whole pass for each head."""
        return (1 + self.heads) * self.forward

    @property
    def heads_only(self) -> int:
        """What the sweep does without the sham: one intact pass; of each head its contribution and what follows."""
        return self.without(Unit("head", index, 0, ((index, 0),)) for index, layer in enumerate(self.layers)
                            for _ in range(layer.heads))  # fmt: skip

    @property
    def sweep(self) -> int:
        """What the sweep does, the sham included."""
        return self.heads_only + self._after(0)

    def without(self, units: Iterable[Unit]) -> int:
        """The intact pass and these units: what follows each; MLPs and sets of heads take whole passes.

        Single heads of a layer share one projection, of anything else each has its own.
        """
        ran = self._ran
        total = self.embed + sum(layer.whole for layer in ran) + self.classify
        shared = set()
        for unit in units:
            if unit.layer is None or unit.kind == "mlp":
                total += self.forward
                continue
            total += self._after(unit.layer)
            if unit.kind != "none" and (len(unit.removed) > 1 or unit.layer not in shared):
                total += ran[unit.layer].projection
            if len(unit.removed) == 1:
                shared.add(unit.layer)
        return total

    @property
    def _ran(self) -> list[Layer]:
        """The layers of a pass of ours: the last only as far as it is read."""
        return [*self.layers[:-1], self.last_read]

    def _after(self, index: int) -> int:
        """What follows a head of this layer."""
        ran = self._ran
        return ran[index].mlp + sum(later.whole for later in ran[index + 1 :]) + self.classify


def costs(net: VisionTransformer) -> Costs:
    """Counted from the shapes of the network."""
    tokens = token_count(net)
    kernel = max(net.patch_embed.parameters(), key=lambda parameter: parameter.numel())
    blocks = seam.blocks(net)
    last = queries_needed(net) or tokens
    return Costs(
        embed=net.patch_embed.num_patches * kernel.numel(),
        layers=tuple(_layer(block, net.embed_dim, tokens, tokens) for block in blocks),
        last_read=_layer(blocks[-1], net.embed_dim, tokens, last),
        classify=net.head.weight.numel() if isinstance(net.head, nn.Linear) else 0,
    )


def _layer(block: seam.Block, dim: int, tokens: int, queries: int) -> Layer:
    attn = seam.attention(block)
    inner = attn.attn_dim
    mlp = sum(cast(nn.Linear, part).weight.numel() for part in (block.mlp.fc1, block.mlp.fc2))
    return Layer(
        attention=dim * inner * (queries + 2 * tokens) + 2 * queries * tokens * inner,
        projection=queries * inner * dim,
        mlp=queries * mlp,
        heads=attn.num_heads,
    )


def forward(net: nn.Module, pixels_BCHW: Tensor) -> int:
    """FLOPs of a pass over one image, of any network: torch's count of the products that ran."""
    device = next(net.parameters()).device
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(pixels_BCHW[:1].to(device))
    return counter.get_total_flops()
