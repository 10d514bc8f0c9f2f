"""Parts of a transformer beyond the plain one, by which two networks that share attention maps may still differ.

A student that imitates the attention of a teacher with such parts learns less by it, up to losing accuracy, unless it
has them too (arXiv:2605.07191: 4 of 11 families of teachers; the parts may begin untrained).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vhs.models.parts import BareBlock, LocalAttention, NormedPatchEmbed, ShiftedPatchEmbed

INITIAL_SCALE = 1e-4
"""At which a student's LayerScale begins (CaiT: Touvron et al. 2021, arXiv:2103.17239)."""


class NativePart(NamedTuple):
    """words: its name in a sentence; keys: of the recipe, with their values, that build a plain ViT with it; {} where
    none do."""

    words: str
    keys: dict[str, Any]


def parts_of(net: nn.Module) -> list[NativePart]:
    """What a network has that a plain ViT with a class token has not."""
    found = [part for part in (*_of_tokens(net), *_of_blocks(net), *_of_patches(net)) if part is not None]
    return sorted(found, key=lambda part: part.words)


def lacking(student: nn.Module, teacher: nn.Module) -> list[NativePart]:
    """Those of the teacher that the student has not."""
    own = parts_of(student)
    return [part for part in parts_of(teacher) if part not in own]


def _of_tokens(net: nn.Module) -> list[NativePart | None]:
    registers = getattr(net, "reg_token", None)
    averaged = isinstance(net, VisionTransformer) and net.cls_token is None
    return [
        None if registers is None else NativePart(f"{registers.shape[1]} registers", {"registers": registers.shape[1]}),
        NativePart("average pooling without a class token", {"pool": "avg"}) if averaged else None,
        NativePart("rotary positions", {}) if getattr(net, "rope", None) is not None else None,
        NativePart("relative positions", {}) if _has(net, "RelPosBias", "RelPosMlp") or _named(
            net, "relative_position_bias_table") else None,
    ]  # fmt: skip


def _of_blocks(net: nn.Module) -> list[NativePart | None]:
    scaled = _has(net, "LayerScale", "LayerScale2d") or _named(net, "gamma_1")
    local = any(isinstance(module, LocalAttention) for module in net.modules())
    blocks = getattr(net, "blocks", None)
    bare = isinstance(blocks, nn.Sequential) and len(blocks) > 0 and isinstance(blocks[-1], BareBlock)
    return [
        NativePart("LayerScale", {"layer_scale": INITIAL_SCALE}) if scaled else None,
        NativePart("norms of queries and keys", {"qk_norm": True}) if not local and _present(net, "q_norm") else None,
        NativePart("locality self-attention", {"lsa": True}) if local else None,
        NativePart("a norm before the first block", {"pre_norm": True}) if _present(net, "norm_pre") else None,
        NativePart("gated MLPs", {}) if _has(net, "SwiGLU", "GluMlp", "SwiGLUPacked") else None,
        NativePart("a last attention without residual", {"last_residual": False}) if bare else None,
    ]


def _of_patches(net: nn.Module) -> list[NativePart | None]:
    embed = getattr(net, "patch_embed", None)
    shifted = isinstance(embed, ShiftedPatchEmbed)
    return [
        NativePart("shifted patches", {"spt": True}) if shifted else None,
        NativePart("normed patches", {"patch_norm": True})
        if isinstance(embed, NormedPatchEmbed) and not shifted
        else None,
    ]


def _has(net: nn.Module, *names: str) -> bool:
    return any(type(module).__name__ in names for module in net.modules())


def _named(net: nn.Module, end: str) -> bool:
    return any(name.rpartition(".")[2] == end for name, _ in net.named_parameters())


def _present(net: nn.Module, name: str) -> bool:
    """Whether a module of this name is more than the identity."""
    return any(
        path.rpartition(".")[2] == name and not isinstance(module, nn.Identity) for path, module in net.named_modules()
    )
