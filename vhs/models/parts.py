"""Parts that timm's plain ViT lacks: for small data sets (Lee et al. 2021, arXiv:2112.13492), normalised patches (Kumar
et al. 2023, arXiv:2302.01327), and a last block as in DiverseViT (Nicolicioiu et al. 2023, arXiv:2308.16274).

Letters: B images, C channels, H height, W width, N tokens, D width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn


class NormedPatchEmbed(nn.Module):
    """Dual PatchNorm: the pixels of each patch are normalised together, projected, and normalised again."""

    views = 1
    """Images that are cut into patches together."""

    def __init__(
        self, img_size: list[int], patch_size: int, in_chans: int, embed_dim: int, bias: bool = True,
        dynamic_img_pad: bool = False, device: object = None, dtype: object = None,
    ) -> None:  # fmt: skip
        """What timm's VisionTransformer gives its embedding; sizes are fixed, so nothing is padded."""
        super().__init__()
        del dynamic_img_pad, device, dtype
        self.patch_size = (patch_size, patch_size)
        self.grid_size = (img_size[0] // patch_size, img_size[1] // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        width = self.views * in_chans * patch_size**2
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Linear(width, embed_dim, bias=bias)
        self.norm_after: nn.Module = nn.LayerNorm(embed_dim)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """[B, patches, D]."""
        return self.norm_after(self.proj(self.norm(self._cut(self.seen(images_BCHW)))))

    def seen(self, images_BCHW: Tensor) -> Tensor:
        """[B, views C, H, W]."""
        return images_BCHW

    def _cut(self, images_BCHW: Tensor) -> Tensor:
        """[B, patches, views C patch²]: by reshaping, in .6 of the time of F.unfold on a CPU."""
        rows, columns = self.grid_size
        tall, wide = self.patch_size
        cells = images_BCHW.unflatten(2, (rows, tall)).unflatten(4, (columns, wide))
        return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


class ShiftedPatchEmbed(NormedPatchEmbed):
    """Shifted Patch Tokenization: the image and its four diagonal shifts by half a patch, cut into patches together,
    normalised and projected."""

    views = 5

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.norm_after = nn.Identity()

    def seen(self, images_BCHW: Tensor) -> Tensor:
        """[B, 5 C, H, W]; beyond the image there are zeros."""
        height, width = images_BCHW.shape[-2:]
        half = self.patch_size[0] // 2
        padded = F.pad(images_BCHW, (half, half, half, half))
        shifts = [
            padded[..., down : down + height, across : across + width]
            for down in (0, 2 * half)
            for across in (0, 2 * half)
        ]
        return torch.cat([images_BCHW, *shifts], dim=1)


class Temperature(nn.Module):
    """Queries times a learned factor a head, 1 at first."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, queries: Tensor) -> Tensor:
        return queries * self.scale


class LocalAttention(Attention):
    """Locality Self-Attention: no token attends to itself, and the softmax's temperature is learned."""

    def __init__(self, dim: int, num_heads: int, **options: object) -> None:
        super().__init__(dim, num_heads, **options)  # type: ignore[arg-type]
        self.q_norm = Temperature(num_heads)

    def mask(self, tokens_BND: Tensor) -> Tensor:
        """[N, N]: minus infinity on the diagonal, added to the scores."""
        count = tokens_BND.shape[1]
        return torch.zeros(count, count, dtype=tokens_BND.dtype, device=tokens_BND.device).fill_diagonal_(-torch.inf)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """timm's, with the mask."""
        del attn_mask, is_causal  # a plain ViT gives none
        return super().forward(x, attn_mask=self.mask(x))


class BareBlock(Block):
    """A block whose attention has no residual: what reaches the classifier has passed its heads."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """timm's, without the residual around the attention."""
        x = self.drop_path1(self.ls1(self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
