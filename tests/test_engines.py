"""Every way of removing heads against whole forward passes of timm's own, on small relatives of each family."""

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.naive import whole_passes
from tests.networks import network
from vhs.errors import MismatchError
from vhs.models.engine import Engine, engine_of, keeps, zero

SIZE = (3, 64, 64)
FAMILIES = {
    "eva (rotary)": ("eva02_tiny_patch14_224", {"img_size": 56, "depth": 3}, "replay", (3, 56, 56)),
    "eva (qk norm, registers)": ("vit_tiny_patch16_dinov3_qkvb", {"img_size": 64, "depth": 3}, "replay", SIZE),
    "beit (relative positions)": ("beit_base_patch16_224", {"img_size": 64, "depth": 3, "embed_dim": 60, "num_heads": 5}, "replay", SIZE),
    "siglip (attention pooling)": ("vit_base_patch16_siglip_224", {"img_size": 64, "depth": 2, "embed_dim": 60, "num_heads": 5}, "replay", SIZE),
    "clip": ("vit_base_patch32_clip_224", {"img_size": 64, "depth": 3, "embed_dim": 60, "num_heads": 5}, "fast", SIZE),
    "naflex": ("naflexvit_base_patch16_gap", {"depth": 3, "embed_dim": 60, "num_heads": 5}, "replay", (3, 224, 224)),
    "parallel blocks": ("vit_small_patch16_36x1_224", {"img_size": 64, "depth": 3}, "fast", SIZE),
    "swin": ("swin_tiny_patch4_window7_224", {"img_size": 56, "depths": (1, 2), "num_heads": (3, 6), "embed_dim": 24}, "hooks", (3, 56, 56)),
    "swin v2": ("swinv2_tiny_window8_256", {"img_size": 64, "depths": (1, 2), "num_heads": (3, 6), "embed_dim": 24}, "hooks", SIZE),
    "pvt": ("pvt_v2_b0", {}, "hooks", SIZE),
    "twins": ("twins_svt_small", {"img_size": 64, "depths": (1, 1, 2, 1)}, "hooks", SIZE),
    "xcit (channel heads)": ("xcit_nano_12_p16_224", {"img_size": 64, "depth": 2}, "replay", SIZE),
    "levit": ("levit_128s", {}, "hooks", (3, 224, 224)),
    "pit": ("pit_ti_224", {}, "hooks", (3, 224, 224)),
    "mvit": ("mvitv2_tiny", {}, "hooks", (3, 224, 224)),
    "coat": ("coat_tiny", {}, "hooks", (3, 224, 224)),
    "nest (interleaved)": ("nest_tiny", {}, "hooks", (3, 224, 224)),
    "tiny vit": ("tiny_vit_5m_224", {}, "hooks", (3, 224, 224)),
    "differential": ("vit_dwee_patch16_reg1_gap_256", {"img_size": 64, "depth": 3}, "replay", SIZE),
    "beside an MLP": ("vit_pwee_patch16_reg1_gap_256", {"img_size": 64, "depth": 3}, "replay", SIZE),
    "beside an MLP, one projection": ("vit_dpwee_patch16_reg1_gap_256", {"img_size": 64, "depth": 3}, "replay", SIZE),
    "xp": ("vit_base_patch16_xp_224", {"img_size": 64, "depth": 2, "embed_dim": 60, "num_heads": 5}, "replay", SIZE),
    "hiera": ("hiera_tiny_224", {"stages": (1, 1, 1, 1)}, "replay", (3, 224, 224)),
    "shared values": ("mobilenetv4_hybrid_medium", {}, "hooks", (3, 224, 224)),
    "lowformer (a projection that enlarges)": ("lowformer_b0", {}, "hooks", (3, 224, 224)),
    "davit": ("davit_tiny", {"depths": (1, 1, 1, 1)}, "hooks", SIZE),
}  # fmt: skip


def swept(engine: Engine, pixels: Tensor, fill=zero) -> Tensor:
    """[U + 1, B, C]: the sham, the heads, and the intact logits last."""
    return torch.cat([logits for _, logits in engine.sweep(pixels, 3, keeps(engine.grid), [fill])])


SLOW = {
    "lowformer (a projection that enlarges)",
    "hiera",
    "shared values",
    "coat",
    "nest (interleaved)",
    "mvit",
    "tiny vit",
    "davit",
    "pit",
    "levit",
}
"""Half a second to four minutes each."""


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in FAMILIES]
)
def test_variants_equal_whole_passes(family: str) -> None:
    name, options, path, size = FAMILIES[family]
    net = network(name, options)
    torch.manual_seed(4)
    pixels = torch.rand(3, *size)
    engine = engine_of(net, size)
    assert engine.path == path
    with torch.inference_mode():
        got = swept(engine, pixels)
        want = whole_passes(net, engine, pixels)
    scale = want.abs().max()
    assert len(got) == len(engine.grid) + 2
    assert (got[-1] - want[0]).abs().max() / scale < 1e-5, "the intact pass"
    assert (got[0] - want[0]).abs().max() / scale < 1e-5, "the sham"
    assert (got[1:-1] - want[1:]).abs().max() / scale < 1e-5
    assert (want[1:] - want[0]).abs().amax((1, 2)).max() / scale > 1e-4, "ablations that change nothing prove nothing"
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert {Tensor, nn.Parameter} >= {type(parameter) for parameter in net.parameters()}


def test_heads_that_share_a_projection_with_an_mlp_end_where_they_are_normed() -> None:
    """Differential attention norms each head by itself: there a head is zeroed by its own index, far from the seam."""
    net = network("vit_dpwee_patch16_reg1_gap_256", {"img_size": 64, "depth": 3})
    pixels = torch.rand(3, *SIZE)
    engine = engine_of(net, SIZE)
    assert [place.features for place in engine.seams] == [256] * 3 and engine.grid.module(2) == "attn"
    found = []
    with torch.inference_mode():
        for block in net.blocks:
            for head in range(4):

                def zero(_module, _args, given, head=head):
                    given[:, head] = 0

                handle = block.sub_norm.register_forward_hook(zero)
                found.append(net(pixels))
                handle.remove()
        got = swept(engine, pixels)[1:-1]
    want = torch.stack(found)
    assert (got - want).abs().max() / want.abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cait_xxs24_224", {"depth": 2}, "its heads are mixed before the projection"),
        ("resnet18", {}, "it has no attention modules with heads"),
    ],
)
def test_networks_whose_heads_cannot_be_reached_say_why(name: str, options: dict, words: str) -> None:
    with pytest.raises(MismatchError, match=words):
        engine_of(network(name, options), (3, 224, 224))


def saved(name: str, path, **wrapping: str) -> nn.Module:
    net = network(name, {})
    state = {wrapping.get("prefix", "") + key: value for key, value in net.state_dict().items()}
    torch.save({wrapping["key"]: state} if "key" in wrapping else state, path)
    return net


@pytest.mark.parametrize("name", ["test_vit", "test_vit_relpos", "test_coatnet"])
def test_plain_weights_ablate_from_the_command_line(name: str, vhs, toy_shards, tmp_path) -> None:
    """A DataParallel state dict of a training script; classes are counted from its classifier; counts are the naive ones."""
    import polars as pl

    from vhs.formats.sharding import write_set
    from vhs.formats.split import from_arrays
    from vhs.models.model import Preprocess

    net = saved(name, tmp_path / "w.pth", key="state_dict", prefix="module.")
    images = torch.randint(0, 256, (16, 40, 40, 3), dtype=torch.uint8)
    labels = torch.arange(16) % 7
    split = from_arrays(images.numpy(), labels.numpy(), name="seven", split="val", classes="abcdefg", prefix="s")
    write_set(tmp_path / "seven", split)
    code, _, err = vhs("ablate", f"timm:{name}@{tmp_path / 'w.pth'}", "--data", tmp_path / "seven", "-o", "t.csv")
    assert code == 0 and "taken as the classes of seven" in err, err
    table = pl.read_csv("t.csv")
    config = timm.data.resolve_data_config({}, model=net)
    side = config["input_size"][1]
    preprocess = Preprocess(height=side, width=side, channels=3, mean=config["mean"], std=config["std"])
    with torch.inference_mode():
        pixels = preprocess(images.permute(0, 3, 1, 2))
        want = whole_passes(net, engine_of(net, (3, side, side)), pixels)
    right = (want.argmax(-1) == labels).sum(1).tolist()
    near = table["n_near_tie"].sum()
    assert table["n_correct_intact"][0] == right[0]
    assert sum(abs(a - b) for a, b in zip(table["n_correct"], [right[0], *right[1:]], strict=True)) <= near
    assert table.filter(pl.col("unit") == "none")["n_lost"].item() == 0


def test_accuracy_is_measured_of_networks_without_heads(vhs, toy_shards, tmp_path) -> None:
    """A ResNet has nothing to ablate, and says so; its accuracy under shift is a baseline like any other."""
    net = timm.create_model("test_resnet", num_classes=5)
    torch.save(net.state_dict(), tmp_path / "r.pth")
    reference = f"timm:test_resnet@{tmp_path / 'r.pth'}"
    code, out, err = vhs("evalshift", reference, "--data", toy_shards / "val", "--shift", "contrast:3")
    assert code == 0 and out.count("\n") == 3, err
    code, _, err = vhs("ablate", reference, "--data", toy_shards / "val")
    assert code == 4 and "it has no attention modules with heads" in err and err.count("defect") == 0
    code, out, _ = vhs("info", reference)
    assert code == 0 and "cannot be ablated" in out


def test_weights_that_do_not_fit_are_one_line(vhs, toy_shards, tmp_path) -> None:
    torch.save(network("test_vit", {}), tmp_path / "object.pth")
    saved("test_vit", tmp_path / "w.pth")
    (tmp_path / "junk.pth").write_bytes(b"no weights at all")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    torn = network("test_vit", {}).state_dict()
    del torn["blocks.1.attn.proj.weight"]
    torch.save(torn, tmp_path / "torn.pth")
    for file, architecture, words in (
        ("object.pth", "test_vit", "holds pickled objects"),
        ("w.pth", "vit_tiny_patch16_224", "64 features wide, the architecture 192. Are they of this architecture?"),
        ("junk.pth", "test_vit", "is no file of torch weights"),
        ("empty.pth", "test_vit", "holds no tensors by name"),
        ("torn.pth", "test_vit", "blocks.1.attn.proj.weight (64, 64) is missing"),
        ("gone.pth", "test_vit", "is not there"),
    ):
        code, _, err = vhs("ablate", f"timm:{architecture}@{tmp_path / file}", "--data", toy_shards / "val")
        assert code == 3 and words in err and err.count("\n") == 1, err
