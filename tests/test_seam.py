"""The prefix-reusing engine against a naive hook loop over timm's own forward. All sizes distinct, prime where free."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from tests import naive
from tests.naive import ablated_logits
from tests.networks import SPECS, TIMM, networks, randomised
from vhs.models import prefix, seam
from vhs.models.building import build, parameter_shapes


@pytest.mark.parametrize("name", [*SPECS, *TIMM, "distillation token"])
def test_ablated_logits_equal_the_naive_loop(name: str) -> None:
    net = randomised(networks()[name])
    pixels = torch.randn(16, 1, 33, 22)
    want = ablated_logits(net, pixels)
    got = []
    with torch.inference_mode():
        plain = net(pixels)
        for state in prefix.intact(net, pixels):
            if isinstance(state, torch.Tensor):
                intact = state
                continue
            removed_HBND = prefix.contribution(
                net.blocks[state.layer], state.heads_BNK, 1 - np.eye(net.blocks[state.layer].attn.num_heads)
            )
            stacked = (state.residual_BND - removed_HBND).flatten(0, 1)
            got.append(prefix.suffix(net, state.layer, stacked).view(len(removed_HBND), 16, -1))
    scale = plain.abs().max()
    assert (intact - plain).abs().max() / scale < 1e-5
    assert (torch.cat(got) - want).abs().max() / scale < 1e-5
    assert (want - plain).abs().amax((1, 2)).min() / scale > 1e-4, "an ablation that changes nothing proves nothing"


def test_contributions_and_bias_add_up_to_the_projection() -> None:
    net = randomised(networks()["layer scale"])
    attn = net.blocks[1].attn
    heads = torch.randn(5, 6, 35)
    total = seam.head_contributions(attn, heads).sum(0) + attn.proj.bias
    assert torch.allclose(total, seam.project(attn, heads), atol=1e-5)


def test_attention_maps_are_those_of_the_unfused_forward() -> None:
    net = randomised(networks()["qk norm"])
    attn, tokens, seen = net.blocks[0].attn, torch.randn(3, 7, 35), []
    attn.fused_attn = False
    handle = attn.attn_drop.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    attn(tokens)
    handle.remove()
    maps = naive.attention_maps(attn, tokens)
    assert torch.allclose(maps, seen[0], atol=1e-6)
    assert torch.allclose(maps.sum(-1), torch.ones(3, 7, 7), atol=1e-5)


def test_the_projection_is_back_after_an_error() -> None:
    net = build(SPECS["class token"])
    projection = net.blocks[0].attn.proj
    with pytest.raises(RuntimeError), seam.without_projection(net.blocks[0].attn):
        raise RuntimeError
    assert net.blocks[0].attn.proj is projection
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("name", SPECS)
def test_parameter_shapes_are_the_networks(name: str) -> None:
    spec = SPECS[name]
    assert {key: tuple(value.shape) for key, value in build(spec).state_dict().items()} == parameter_shapes(spec)


def test_other_architectures_are_refused_with_the_reason() -> None:
    assert seam.refusal(nn.Linear(2, 3)) == "not a timm VisionTransformer"
    parallel = timm.models.VisionTransformer(
        **SPECS["class token"].timm_kwargs(), block_fn=timm.models.vision_transformer.ParallelThingsBlock
    )
    assert "ParallelThingsBlock" in str(seam.refusal(parallel))
