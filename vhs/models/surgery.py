"""Heads taken out of a network for real: rows of queries, keys and values, columns of the projection, what each has of
its own. Attention stays timm's: its modules are exchanged for ones of fewer heads, which may be none.

Letters: H heads, K heads that stay, W features a head, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from timm.layers import Attention
from timm.layers.attention import AttentionRope
from timm.models.eva import EvaAttention
from torch import Tensor, nn

from vhs.errors import MismatchError
from vhs.models.discovery import candidates
from vhs.models.parts import Temperature

NUMBERS = "head_numbers"
"""Where an attention module keeps what its heads were called before others went."""
Kept = Sequence[Sequence[int]]
"""For each layer heads that stay."""


def numbers_of(modules: Iterable[nn.Module]) -> tuple[tuple[int, ...], ...]:
    """For each attention module what its heads are called; () where none has lost any."""
    modules = list(modules)
    if not any(hasattr(module, NUMBERS) for module in modules):
        return ()
    return tuple(tuple(getattr(module, NUMBERS, range(cast(int, module.num_heads)))) for module in modules)


def attentions(net: nn.Module) -> dict[str, nn.Module]:
    """path -> attention module, in the order in which layers are numbered."""
    return {path: module for path, (module, _, _) in candidates(net).items()}


def refusal(path: str, module: nn.Module) -> str | None:
    """Why no head of an attention module can be taken out; None where any can."""
    if not isinstance(module, (Attention, EvaAttention, AttentionRope)):
        return f"{path} is a {type(module).__name__}, and heads are taken out of timm's own attention alone"
    if not isinstance(module.norm, nn.Identity):
        return (
            f"{path} has a norm over all its heads together before the projection, so that without one of them the "
            f"others would come out of it otherwise"
        )
    if getattr(module, "num_kv_heads", module.num_heads) != module.num_heads:
        return f"{path} has heads that share keys and values"
    return None


def copy_sharing_weights(net: nn.Module) -> nn.Module:
    """Another network of the same tensors: modules may be exchanged in it, and no memory is taken."""
    tensors = [*net.parameters(), *net.buffers()]
    return copy.deepcopy(net, {id(tensor): tensor for tensor in tensors})


def keep(net: nn.Module, kept: Kept, numbers: Kept | None = None) -> None:
    """Leave in each layer the heads at these positions alone, in place; modules that lose none are not touched.

    numbers: what they are called, where the network does not say so itself. Raises MismatchError where heads cannot be
    taken out.
    """
    found = attentions(net)
    if len(found) != len(kept):
        raise MismatchError(f"{type(net).__name__}: has {len(found)} layers with heads, {len(kept)} were expected.")
    own = numbers_of(found.values()) or tuple(tuple(range(cast(int, part.num_heads))) for part in found.values())
    for layer, path in enumerate(found):
        if not all(0 <= position < len(own[layer]) for position in kept[layer]):
            raise MismatchError(f"{path}: has {len(own[layer])} heads, more were expected.")
        called = tuple(numbers[layer] if numbers is not None else (own[layer][position] for position in kept[layer]))
        if called != tuple(own[layer]):
            net.set_submodule(path, of_fewer(net, path, kept[layer], called))


def of_fewer(net: nn.Module, path: str, positions: Sequence[int], called: Sequence[int]) -> nn.Module:
    """An attention module of some heads of one of the network's, which stays as it is. called: their numbers.

    Raises MismatchError where heads cannot be taken out.
    """
    module = net.get_submodule(path)
    reason = refusal(path, module)
    if reason:
        raise MismatchError(f"{type(net).__name__}: {reason}.")
    fewer: Any = _as_rope(module) if isinstance(module, EvaAttention) else copy_sharing_weights(module)
    heads, places = fewer.num_heads, list(positions)
    if isinstance(fewer, AttentionRope):
        fewer.num_kv_heads, fewer.kv_dim = len(places), len(places) * fewer.head_dim
        fewer.__class__ = RopeByHead if getattr(net, "rope_mixed", False) else AttentionRope
    fewer.num_heads, fewer.attn_dim = len(places), len(places) * fewer.head_dim
    for name, parts in (("qkv", 3), ("q_proj", 1), ("k_proj", 1), ("v_proj", 1), ("gate", 1)):
        linear = getattr(fewer, name, None)
        if linear is not None:
            _keep_rows(linear, (parts, heads, fewer.head_dim), places)
    picked = _picked(fewer.proj.weight.mT, (1, heads, fewer.head_dim), places)
    fewer.proj.weight, fewer.proj.in_features = _like(fewer.proj.weight, picked.mT), fewer.attn_dim
    if isinstance(fewer.q_norm, Temperature):
        fewer.q_norm.scale = _like(fewer.q_norm.scale, fewer.q_norm.scale.detach()[places])
    setattr(fewer, NUMBERS, tuple(called))
    return fewer


def change(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Give a projection other values, in place: those that a fill left it."""
    linear.weight, linear.bias = _like(linear.weight, weight), _like(linear.bias, bias)


class RopeByHead(AttentionRope):
    """Attention whose rotary positions are learned by head: of the table for all heads each takes its own row."""

    head_numbers: tuple[int, ...]

    def forward(self, x: Tensor, rope: Tensor | None = None, *masks: Any, **options: Any) -> Tensor:
        """timm's, of the rows of `rope` [..., H, N, W] that are these heads'."""
        own = None if rope is None else torch.stack([rope[..., head, :, :] for head in self.head_numbers], -3) if (
            self.head_numbers) else rope[..., :0, :, :]  # fmt: skip
        return super().forward(x, own, *masks, **options)


def _as_rope(module: EvaAttention) -> AttentionRope:
    """timm's other attention with rotary positions, which computes the same and does not take the model's width for the
    heads'."""
    rope = AttentionRope(
        module.proj.out_features, 1, attn_head_dim=module.head_dim, num_prefix_tokens=module.num_prefix_tokens,
        attn_drop=module.attn_drop.p, proj_drop=module.proj_drop.p, rotate_half=module.rotate_half, device="meta",
    )  # fmt: skip
    shared: Any = copy_sharing_weights(module)
    for name in ("qkv", "q_proj", "k_proj", "v_proj", "q_norm", "k_norm", "gate", "proj", "num_heads"):
        setattr(rope, name, getattr(shared, name))
    if module.q_bias is not None:
        assert rope.qkv is not None and module.k_bias is not None and module.v_bias is not None
        rope.qkv.bias = _like(module.q_bias, torch.cat([module.q_bias, module.k_bias, module.v_bias]))
    rope.fused_attn = module.fused_attn
    return rope.train(module.training)


def _keep_rows(linear: nn.Linear, shape: tuple[int, int, int], positions: list[int]) -> None:
    linear.weight = _like(linear.weight, _picked(linear.weight, shape, positions))
    if linear.bias is not None:
        linear.bias = _like(linear.bias, _picked(linear.bias, shape, positions))
    linear.out_features = len(linear.weight)


def _picked(values: Tensor, shape: tuple[int, int, int], positions: list[int]) -> Tensor:
    """[P * K * W, …] of [P * H * W, …]; shape: P, H and W."""
    return values.detach().reshape(*shape, *values.shape[1:])[:, positions].flatten(0, 2)


def _like(before: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach().contiguous(), requires_grad=before.requires_grad)
