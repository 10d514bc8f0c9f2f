"""Which parameters learn, how fast, and by what."""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from vhs.errors import UsageError
from vhs.models import seam
from vhs.models.pooling import classifiers
from vhs.training import gates, lora
from vhs.training.recipe import Recipe


def freeze(net: nn.Module, recipe: Recipe) -> None:
    """Leave out of training what the recipe freezes, in place; with lora all but its parts and the classifier.

    Raises UsageError for networks or numbers of blocks for which there is no such choice.
    """
    if recipe.lora or recipe.freeze not in ("none", "all"):
        reason = seam.refusal(net)
        if reason:
            raise UsageError(f"{'lora' if recipe.lora else 'freeze'}: {type(net).__name__} is {reason}.")
    if recipe.lora:
        lora.adapt(cast(VisionTransformer, net), recipe.lora)
    elif recipe.freeze == "all":
        net.requires_grad_(False)
        for module in classifiers(net):
            module.requires_grad_(True)
    elif recipe.freeze != "none":
        _freeze_blocks(cast(VisionTransformer, net), int(recipe.freeze))


def fix_positions(net: VisionTransformer) -> None:
    """Sine waves in two dimensions for the patches' positions, in place, and not learned (as MoCo v3, big_vision).

    Class token and registers get zeros. Learned positions begin so small (deviation .02) that a task of finding where
    something is may stay on its plateau for thousands of updates.
    """
    waves = build_sincos2d_pos_embed(list(net.patch_embed.grid_size), dim=net.embed_dim, interleave_sin_cos=False)
    positions = net.pos_embed
    assert positions is not None, "a plain ViT without positions"
    with torch.no_grad():
        positions.zero_()
        positions[0, -len(waves) :] = waves
    positions.requires_grad_(False)


def optimizer(net: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """AdamW; weight decay leaves out what timm leaves out: biases, norms, tokens and position embeddings.

    Each group has `lr_scale`, the factor of layer_decay on the rate.
    """
    no_decay = set(cast(Any, net).no_weight_decay()) if hasattr(net, "no_weight_decay") else set()
    if recipe.layer_decay < 1:
        groups = param_groups_layer_decay(
            net, recipe.weight_decay, no_weight_decay_list=no_decay, layer_decay=recipe.layer_decay
        )
    else:
        groups = param_groups_weight_decay(net, recipe.weight_decay, no_weight_decay_list=no_decay)
    if recipe.prune_gates:
        groups = _with_gates_apart(net, groups, recipe.gate_rate)
    return torch.optim.AdamW(groups, lr=recipe.rate, fused=device.type == "cuda")


def _with_gates_apart(net: nn.Module, groups: list[dict[str, Any]], rate: float) -> list[dict[str, Any]]:
    """Gates in a group of their own: not decayed, at a rate of their own, for they have few updates to close in."""
    own = [gate.log_alpha for gate in gates.of(net) if isinstance(gate, gates.Learned)]
    known = {id(parameter) for parameter in own}
    for group in groups:
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in known]
    return [*groups, {"params": own, "weight_decay": 0.0, "lr_scale": rate}]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next update, by group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def hold(net: nn.Module) -> None:
    """Put what does not learn into eval mode, in place: its batch statistics and drop paths stay still."""
    for module in net.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def _freeze_blocks(net: VisionTransformer, count: int) -> None:
    """Everything before block `count`: embeddings, tokens, and the first blocks."""
    blocks = seam.blocks(net)
    if count > len(blocks):
        raise UsageError(f"freeze: {count} blocks, the model has {len(blocks)}.")
    net.requires_grad_(False)
    for module in (*blocks[count:], net.norm, net.fc_norm, *classifiers(net)):
        module.requires_grad_(True)
