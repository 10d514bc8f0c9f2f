"""Attention maps of any network, beside timm's own with fused attention off, and what is refused."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import timm
import torch
from safetensors.torch import save_file

from tests import naive
from tests.networks import randomised
from vhs.errors import MismatchError
from vhs.models import seam
from vhs.models.engine import engine_of
from vhs.models.hooks import hook_before, keep_input
from vhs.models.maps import MapReader
from vhs.models.tokens import GLOBAL, POOLED_KEYS, WINDOWS

FAMILIES = {
    "vit_small_patch14_reg4_dinov2": {"img_size": (42, 70), "depth": 2, "embed_dim": 33, "num_heads": 3},
    "deit_tiny_distilled_patch16_224": {"img_size": (48, 80), "depth": 2, "embed_dim": 33, "num_heads": 3},
    "beit_base_patch16_224": {"img_size": (48, 80), "depth": 2, "embed_dim": 33, "num_heads": 3},
    "eva02_tiny_patch14_224": {"img_size": (42, 70), "depth": 2},
    "vit_small_patch16_dinov3": {"img_size": (48, 80), "depth": 2},
    "vit_relpos_small_patch16_224": {"img_size": (48, 80), "depth": 2},
    "swin_tiny_patch4_window7_224": {"img_size": 112, "depths": (2, 2), "embed_dim": 24, "num_heads": (2, 3)},
    "pvt_v2_b0": {},
    "twins_svt_small": {},
}  # fmt: skip


def built(name: str) -> tuple[torch.nn.Module, torch.Tensor, MapReader]:
    torch.manual_seed(0)
    net = randomised(timm.create_model(name, num_classes=5, **FAMILIES[name]).eval())
    size = FAMILIES[name].get("img_size", 64)
    side = size if isinstance(size, tuple) else (size, size)
    if not FAMILIES[name]:
        side = (224, 224)
    pixels = torch.rand(2, 3, *side)
    return net, pixels, MapReader(net, engine_of(net, (3, *side)).seams, pixels)


@pytest.mark.parametrize("name", FAMILIES)
def test_maps_equal_timms_own(name: str) -> None:
    """What timm's attention hands to its dropout, fused attention off."""
    net, pixels, reader = built(name)
    got = [seen.weights_RHQK for seen in reader.read(pixels)]
    want: list[torch.Tensor] = []
    with ExitStack() as stack, torch.inference_mode():
        for place in reader._seams:
            place.attention.fused_attn = False
            stack.enter_context(hook_before(place.attention.attn_drop, lambda _m, args: want.append(args[0])))
        net(pixels)
    assert len(got) == len(want) > 1
    for ours, theirs in zip(got, want, strict=True):
        assert torch.allclose(ours, theirs.flatten(0, 1) if theirs.dim() == 5 else theirs, atol=1e-5)
        assert torch.allclose(ours.sum(-1), torch.ones(()), atol=1e-5) and ours.std(-1).max() > 1e-4


def test_layouts_are_told_by_shape() -> None:
    kinds = {
        name: [layout.kind for layout in built(name)[2].layouts]
        for name in ("swin_tiny_patch4_window7_224", "pvt_v2_b0")
    }
    assert kinds["swin_tiny_patch4_window7_224"][0] == WINDOWS
    assert kinds["pvt_v2_b0"][0] == POOLED_KEYS and kinds["pvt_v2_b0"][-1] == GLOBAL
    plain = built("vit_small_patch14_reg4_dinov2")[2].layouts[0]
    assert (plain.kind, plain.queries) == (GLOBAL, 3 * 5 + 5)


def test_the_two_ways_to_a_plain_vits_maps_agree() -> None:
    net, pixels, reader = built("vit_small_patch14_reg4_dinov2")
    watched = [seen.weights_RHQK for seen in reader.read(pixels)]
    received: list[torch.Tensor] = []
    with ExitStack() as stack, torch.inference_mode():
        for block in seam.blocks(net):
            stack.enter_context(hook_before(seam.attention(block), partial(keep_input, received)))
        net(pixels)
        for ours, block, tokens in zip(watched, seam.blocks(net), received, strict=True):
            assert torch.allclose(ours, naive.attention_maps(seam.attention(block), tokens), atol=1e-6)


def test_maps_between_channels_are_none() -> None:
    net = timm.create_model("xcit_nano_12_p16_224", img_size=64, num_classes=5).eval()
    with pytest.raises(
        MismatchError, match=r"Xcit: blocks\.0\.attn has no attention map over tokens by head \(none was"
    ):
        MapReader(net, engine_of(net, (3, 64, 64)).seams, torch.rand(1, 3, 64, 64))


def test_maps_between_channels_are_none_where_tokens_are_as_many_as_features() -> None:
    """96 x 128 px in patches of 16: 48 tokens, and heads of 48 features."""
    net = timm.create_model("xcit_tiny_12_p16_224", img_size=(96, 128), num_classes=5).eval()
    with pytest.raises(MismatchError, match="has no attention map over tokens by head"):
        MapReader(net, engine_of(net, (3, 96, 128)).seams, torch.rand(1, 3, 96, 128))


def test_a_map_that_is_a_mixture_is_the_one_that_is_applied() -> None:
    """ConViT mixes a map of places with one of contents, by a gate; each is a softmax."""
    torch.manual_seed(0)
    net = timm.create_model("convit_tiny", img_size=64, num_classes=5).eval()
    for block in net.blocks[:10]:
        torch.nn.init.normal_(block.attn.gating_param)
    pixels = torch.rand(2, 3, 64, 64)
    reader = MapReader(net, engine_of(net, (3, 64, 64)).seams, pixels)
    received: list[torch.Tensor] = []
    with hook_before(net.blocks[1].attn, lambda _m, args: received.append(args[0])):
        seen = reader.read(pixels)
    with torch.inference_mode():
        assert torch.allclose(seen[1].weights_RHQK, net.blocks[1].attn.get_attention(received[0]), atol=1e-6)
    assert torch.allclose(seen[1].weights_RHQK.sum(-1), torch.ones(()), atol=1e-5)
    grids = [(layout.grid, layout.special) for layout in reader.layouts]
    assert grids[0] == ((4, 4), ()) and grids[-1] == ((4, 4), ("class",))  # the class token comes in after ten layers


def test_windows_that_do_not_tile_the_image_have_no_places() -> None:
    """At 256 px Swin pads 64 to 70 patches a side."""
    net = timm.create_model("swin_tiny_patch4_window7_224", img_size=256, depths=(1, 1), num_heads=(2, 3), embed_dim=24,
                            num_classes=5).eval()  # fmt: skip
    layouts = MapReader(net, engine_of(net, (3, 256, 256)).seams, torch.rand(1, 3, 256, 256)).layouts
    assert [layout.grid for layout in layouts] == [None, None] and layouts[0].kind == WINDOWS


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "eva02_tiny_patch14_224"])
def test_maps_in_reduced_precision(name: str) -> None:
    """What a model has is told in float32, and rows sum to 1 in bf16 as well."""
    from dataclasses import replace

    from vhs.measures.observation import Observer
    from vhs.models.model import Model, Preprocess

    net = randomised(timm.create_model(name, num_classes=5, **FAMILIES[name]).eval())
    stats = Preprocess(height=42, width=70, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    model = Model(net=net, preprocess=stats, classes=tuple("abcde"), name=name, weights_id="")
    whole, reduced = Observer(model), Observer(replace(model, precision="bf16"))
    assert [set(part) for part in whole.ranks] == [set(part) for part in reduced.ranks]
    pixels = torch.rand(2, 3, 42, 70)
    exact = whole.see(pixels).layers
    for ours, theirs in zip(reduced.see(pixels).layers, exact, strict=True):
        assert torch.allclose(ours.weights_RHQK.sum(-1), torch.ones(()), atol=1e-5)
        assert (ours.carried_RHK is None) == (theirs.carried_RHK is None)


def test_no_mode_is_left_behind() -> None:
    net, pixels, reader = built("beit_base_patch16_224")
    before = net(pixels)
    reader.read(pixels)
    assert torch.equal(before, net(pixels)) and not torch.overrides._get_current_function_mode_stack()


SIZES = "img_size=42x28,patch_size=7,in_chans=1,num_classes=5,depth=2,embed_dim=18,num_heads=3"


def test_specialize_of_another_family(vhs, toy_shards: Path, tmp_path: Path) -> None:
    """BEiT with queries of zero attends evenly: distances are those of uniform attention, entropy is at its most."""
    arguments = {
        "img_size": (42, 28),
        "patch_size": 7,
        "in_chans": 1,
        "num_classes": 5,
        "depth": 2,
        "embed_dim": 18,
        "num_heads": 3,
    }
    net = timm.create_model("beit_base_patch16_224", **arguments)
    for block in net.blocks:
        torch.nn.init.zeros_(block.attn.qkv.weight[:18])
    with torch.no_grad():
        for block in net.blocks:
            block.attn.qkv.weight[:18] = 0
            block.attn.q_bias.zero_()
            block.attn.relative_position_bias_table.zero_()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    reference = f"timm:beit_base_patch16_224:{SIZES}@{tmp_path / 'w.safetensors'}"
    code, _, err = vhs("specialize", reference, "--data", toy_shards / "val", "-o", "h.csv")
    assert code == 0, err
    table = pl.read_csv("h.csv")
    assert not table["value"].is_null().any()
    assert "follows" not in table.filter(pl.col("weighting") == "attention")["metric"]  # even maps follow nothing
    even = table.filter(pl.col("metric") == "entropy_normalised")["value"]
    assert (even - 1).abs().max() < 1e-6
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(4.0), indexing="ij")
    centres = torch.stack([rows.flatten(), columns.flatten()], 1) * 7
    uniform = (torch.cdist(centres, centres).sum(1) / 25).mean().item()
    assert table.filter(pl.col("metric") == "distance")["value"].to_list() == pytest.approx([uniform] * 6, rel=1e-5)
    assert table.filter(pl.col("metric") == "cluster")["value"].to_list() == [0.0] * 6


def test_windows_are_measured_inside(vhs, toy_shards: Path, tmp_path: Path) -> None:
    name = "swin_tiny_patch4_window7_224"
    arguments = {
        "img_size": 56,
        "in_chans": 1,
        "num_classes": 5,
        "depths": (2, 2),
        "embed_dim": 24,
        "num_heads": (2, 3),
    }
    save_file(timm.create_model(name, **arguments).state_dict(), tmp_path / "w.safetensors")
    reference = f"timm:{name}:img_size=56,in_chans=1,num_classes=5,depths=2x2,embed_dim=24,num_heads=2x3@{tmp_path / 'w.safetensors'}"
    code, _, err = vhs("specialize", reference, "--data", toy_shards / "val", "-o", "h.csv")
    assert code == 0, err
    table = pl.read_csv("h.csv")
    inside = table.filter((pl.col("layer") < 2) & (pl.col("query") == "windows"))
    assert {"distance_patch", "nmi", "offset", "entropy", "self_mass", "jsd_layer"} - set(inside["metric"]) == {
        "jsd_layer"
    }
    farthest = 6 * 2**0.5 * 4  # of 7 x 7 patches of 4 px
    assert inside.filter(pl.col("metric") == "distance_patch")["value"].is_between(0, farthest).all()
