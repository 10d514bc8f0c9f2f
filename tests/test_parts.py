"""Parts of our own for small data: what they compute, their ablation, and every command on them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests import naive
from tests.naive import ablated_logits
from tests.networks import SMALL, randomised
from vhs.formats import checkpoints
from vhs.models.building import build, parameter_shapes
from vhs.models.engine import engine_of, keeps, zero
from vhs.models.spec import ViTSpec

PARTS = {
    "spt": {"spt": True}, "patch norm": {"patch_norm": True}, "lsa": {"lsa": True}, "no last residual": {"last_residual": False},
    "layer scale": {"layer_scale": True}, "lsa, wide, average": {"lsa": True, "head_width": 5, "pool": "avg"},
    "all": {"spt": True, "lsa": True, "last_residual": False, "layer_scale": True, "registers": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_our_own_are_ablated_as_by_the_naive_loop(name: str) -> None:
    spec = ViTSpec(**SMALL | PARTS[name])
    net = randomised(build(spec))
    assert {key: tuple(value.shape) for key, value in net.state_dict().items()} == parameter_shapes(spec)
    assert spec.stock == (name == "layer scale") and (name == "layer scale") == bool(checkpoints.timm_arguments(spec))
    pixels = torch.randn(5, 1, 33, 22)
    engine = engine_of(net)
    with torch.inference_mode():
        got = torch.cat([part for _, part in engine.sweep(pixels, 3, keeps(engine.grid), [zero])])
    want = ablated_logits(net, pixels)
    assert engine.path == "fast" and (got[1:-1] - want).abs().max() / want.abs().max() < 1e-5
    assert torch.allclose(got[-1], net(pixels), atol=1e-4)


def test_local_attention_attends_to_others_only() -> None:
    from vhs.models import seam

    net = randomised(build(ViTSpec(**SMALL | {"lsa": True})))
    tokens = torch.randn(2, 7, 24)
    attn = net.blocks[0].attn
    maps = naive.attention_maps(attn, tokens)
    assert maps.diagonal(dim1=-2, dim2=-1).abs().max() == 0 and torch.allclose(maps.sum(-1), torch.ones(2, 3, 7))
    with torch.inference_mode():
        before = seam.head_outputs(attn, tokens)
        values = naive.values(attn, tokens)
    assert torch.allclose((maps @ values).transpose(1, 2).flatten(2), before, atol=1e-5)


def test_shifted_patches_see_half_a_patch_further() -> None:
    from vhs.models.parts import ShiftedPatchEmbed

    embed = ShiftedPatchEmbed([8, 8], 4, 1, 6)
    image = torch.zeros(1, 1, 8, 8)
    plain = embed(image)
    image[0, 0, 5, 5] = 1.0  # in the last patch, within two pixels of the first
    changed = (embed(image) - plain).abs().amax(-1)[0] > 0
    assert changed.tolist() == [True, True, True, True]
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 7, 7] = 1.0
    assert ((embed(image) - plain).abs().amax(-1)[0] > 0).tolist() == [False, False, False, True]


@pytest.mark.parametrize("kind", ["spt", "patch_norm"])
def test_patches_are_cut_as_by_unfold(kind: str) -> None:
    """Each row of patches, left to right; of each patch the channels, then its rows."""
    embed = build(ViTSpec(**SMALL | {"channels": 3, kind: True})).patch_embed
    images = torch.randn(2, 3, 33, 22)
    cut = F.unfold(embed.seen(images), 11, stride=11).transpose(1, 2)
    assert torch.equal(embed(images), embed.norm_after(embed.proj(embed.norm(cut))))


def test_normed_patches_have_no_brightness() -> None:
    embed = build(ViTSpec(**SMALL | {"patch_norm": True})).patch_embed
    images = torch.randn(2, 1, 33, 22)
    tokens = embed(images)
    assert torch.allclose(embed(3 * images + 5), tokens, atol=1e-4)
    assert tokens.mean(-1).abs().max() < 1e-5 and torch.allclose(
        tokens.std(-1, correction=0), torch.ones(2, 6), atol=1e-3
    )


@pytest.mark.parametrize("kind", ["spt", "patch_norm", "lsa"])
def test_models_with_parts_of_our_own_go_through_every_command(kind: str, toy_shards: Path, vhs) -> None:
    small = ("--depth", 2, "--dim", 16, "--heads", 2, "--patch", 14, "--epochs", 1)
    assert vhs("train", toy_shards, *small, "--set", f"{kind}=true", "-o", "m.safetensors")[0] == 0
    for command in ("ablate", "evalshift", "specialize"):
        code, _, err = vhs(command, "m.safetensors", "--data", toy_shards / "val", "-o", f"{command}.csv")
        assert code == 0 and Path(f"{command}.csv").exists(), err
    assert vhs("info", "m.safetensors", "-o", "info.png")[0] == 0
