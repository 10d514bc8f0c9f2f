"""The architecture of a model that was loaded, also of one whose file does not tell it in our words."""

from __future__ import annotations

from typing import cast

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vhs.errors import InputError
from vhs.formats.references import Loaded
from vhs.models import seam
from vhs.models.spec import Spec, ViTSpec

LARGEST_EPS = 1e-5
"""What a norm may add to a variance of about 1 for timm's 1e-6 to stand in for it."""


def of(reference: str, loaded: Loaded, asking: str) -> Spec:
    """Its spec, or that of the plain ViT it is. asking: the option or command that needs it, for messages.

    Raises InputError for a network that neither says how it is built nor is such a ViT.
    """
    model = loaded.model
    if model.spec is not None:
        return model.spec
    if model.plain is None:
        raise InputError(f"{reference}: {asking} takes vhs checkpoints, timm models and plain ViTs in hf's layout.")
    _check_plain(model.plain, reference, asking)
    size = model.preprocess
    return _of_plain(model.plain, size.height, size.width, size.channels, len(model.classes))


def _check_plain(net: VisionTransformer, reference: str, asking: str) -> None:
    """Raises InputError for a network that a plain ViT of the same sizes would not compute."""
    block = seam.blocks(net)[0]
    activation, eps = cast(nn.Module, block.mlp.act), cast(nn.LayerNorm, net.norm).eps
    if type(activation) is not nn.GELU or activation.approximate != "none":
        raise InputError(
            f"{reference}: its activation is {type(activation).__name__}; {asking} goes on with GELU alone."
        )
    if eps > LARGEST_EPS:
        raise InputError(f"{reference}: its norms add {eps:g} to the variance; {asking} goes on with 1e-6 alone.")


def _of_plain(net: VisionTransformer, height: int, width: int, channels: int, classes: int) -> ViTSpec:
    attn, block = seam.attention(seam.blocks(net)[0]), seam.blocks(net)[0]
    hidden = cast(nn.Linear, block.mlp.fc1).weight.shape[0]
    return ViTSpec(
        depth=len(seam.blocks(net)), dim=net.embed_dim, heads=attn.num_heads, head_width=attn.head_dim, hidden=hidden,
        patch=cast(int, net.patch_embed.patch_size[0]), height=height, width=width, channels=channels,
        classes=max(classes, 1), registers=0 if net.reg_token is None else net.reg_token.shape[1],
        pool="token" if net.global_pool == "token" else "avg", layer_scale=not isinstance(block.ls1, nn.Identity),
    )  # fmt: skip
