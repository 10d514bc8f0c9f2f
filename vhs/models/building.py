"""A network of the sizes that a spec records, by timm."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vhs.errors import InputError, MismatchError, UsageError
from vhs.models import arguments, seam, surgery
from vhs.models.model import Model
from vhs.models.parts import BareBlock, LocalAttention, NormedPatchEmbed, ShiftedPatchEmbed
from vhs.models.spec import Spec, TimmSpec, ViTSpec
from vhs.seeds import seed_generators


def build(spec: Spec, *, drop_path: float = 0.0, layer_scale: float = 1e-5) -> nn.Module:
    """A network of these sizes with timm's own initial weights (from the global generator).

    layer_scale: initial value, where the spec has LayerScale. Raises UsageError for what the architecture cannot take.
    """
    if isinstance(spec, TimmSpec):
        net = _of_timm(spec, drop_path)
        if spec.kept:
            surgery.keep(net, spec.kept)
        return net
    base: type[nn.Module] = LocalAttention if spec.lsa else seam.Attention
    even = spec.most_heads * spec.head_width == spec.dim
    attention = base if even else seam.attention_of_width(spec.head_width, base)  # type: ignore[arg-type]
    scaled = {"init_values": layer_scale} if spec.layer_scale else {}
    own = ShiftedPatchEmbed if spec.spt else NormedPatchEmbed if spec.patch_norm else None
    embed = {"embed_layer": own} if own else {}
    net = (VisionTransformerDistilled if spec.distilled else VisionTransformer)(
        **spec.timm_kwargs() | scaled | embed,
        attn_layer=attention,
        drop_path_rate=drop_path,
    )
    if not spec.last_residual:
        net.blocks[-1].__class__ = BareBlock  # its weights are those of any block
    if spec.kept or not isinstance(spec.heads, int):
        surgery.keep(net, [range(heads) for heads in spec.heads_by_layer], spec.kept or None)
    return net


def spec_of_fewer(spec: Spec, net: nn.Module) -> Spec:
    """The spec of a network of this spec that has lost heads since."""
    modules = list(surgery.attentions(net).values())
    kept = surgery.numbers_of(modules)
    if not kept:
        return spec
    if isinstance(spec, ViTSpec):
        return replace(spec, heads=tuple(map(len, kept)), kept=kept)
    return replace(spec, kept=kept)


def untrained(model: Model, seed: int) -> nn.Module:
    """The network of `model` with initial weights, drawn by the seed: what its training may have begun with.

    Raises MismatchError for a network that nobody says how to build.
    """
    with seed_generators(seed, "untrained"):
        if model.spec is not None:
            net = build(model.spec)
        elif isinstance(model.net, VisionTransformer):
            net = copy.deepcopy(model.net)
            net.init_weights()
        else:
            raise MismatchError(f"{model.name}: how it was built is not known, so it has no untrained twin.")
    return net.to(model.device).eval().requires_grad_(False)


def _of_timm(spec: TimmSpec, drop_path: float) -> nn.Module:
    """By timm.create_model, at the image size asked for where the architecture has a choice."""
    import timm

    kwargs = timm_kwargs(spec)
    try:
        return timm.create_model(spec.name, **kwargs, drop_path_rate=drop_path)
    except TypeError:
        return timm.create_model(spec.name, **kwargs)


@cache
def timm_kwargs(spec: TimmSpec) -> dict[str, Any]:
    """Arguments for timm.create_model: the image size too, where the architecture has a choice.

    Raises UsageError where timm does not build it so.
    """
    import timm

    kwargs = {"num_classes": spec.classes, "in_chans": spec.channels} | arguments.parse(spec.arguments)
    choices: tuple[dict[str, Any], ...] = ({"img_size": [spec.height, spec.width]}, {})
    for extra in choices:
        try:
            with torch.device("meta"):
                timm.create_model(spec.name, **kwargs, **extra)
            return kwargs | extra
        except TypeError:
            continue
    with_arguments = f" with {spec.arguments}" if spec.arguments else ""
    raise UsageError(
        f"{spec.name}: timm does not build it{with_arguments} for {spec.classes} classes and {spec.channels} channels."
    )


def parameter_shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    """The name and shape of every tensor of the model. Raises InputError where timm does not build it so."""
    if isinstance(spec, ViTSpec):
        return spec.parameter_shapes()
    try:
        with torch.device("meta"):
            net = build(spec)
        fine = arguments.too_fine(net) if spec.arguments else None
        if fine:
            raise UsageError(f"it {fine} read here")
        return {name: tuple(value.shape) for name, value in net.state_dict().items()}
    except (AssertionError, RuntimeError, ValueError, UsageError, MismatchError) as error:
        raise InputError(f"{spec.name}: timm does not build it so: {' '.join(str(error).split())[:120]}.") from error
