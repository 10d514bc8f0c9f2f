"""What learns, and how fast: low-rank parts, frozen blocks, layer decay."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tests.networks import SMALL
from tests.trainings import weights
from vhs.formats import checkpoints
from vhs.models.building import build
from vhs.models.spec import ViTSpec
from vhs.training import lora
from vhs.training.recipe import Recipe


def adapted(rank: int = 4) -> nn.Module:
    torch.manual_seed(0)
    net = build(ViTSpec(**SMALL))
    lora.adapt(net, rank)
    return net


def test_merged_low_rank_parts_equal_the_adapter() -> None:
    net = adapted()
    plain = build(ViTSpec(**SMALL))
    plain.load_state_dict(lora.merge(net).state_dict(), strict=True)
    pixels = torch.randn(4, 1, 33, 22)
    assert torch.equal(net.eval()(pixels), plain.eval()(pixels))
    for name, parameter in net.named_parameters():
        if "up_" in name:
            nn.init.normal_(parameter, std=0.1)
    assert not torch.allclose(net(pixels), plain(pixels))
    plain.load_state_dict(lora.merge(net).state_dict(), strict=True)
    assert torch.equal(net(pixels), plain(pixels))
    for block, by_hand in zip(net.blocks, plain.blocks, strict=True):
        part = block.attn.qkv.parametrizations.weight
        low = part[0]
        want = part.original.clone()
        want[:24] += 2 * low.up_q @ low.down_q
        want[48:] += 2 * low.up_v @ low.down_v
        assert torch.allclose(by_hand.attn.qkv.weight, want, atol=1e-6)


def test_only_low_rank_parts_and_the_classifier_learn() -> None:
    learn = {name for name, parameter in adapted().named_parameters() if parameter.requires_grad}
    assert len(learn) == 2 + 3 * 4 and all("parametrizations" in name or name.startswith("head.") for name in learn)


def test_distilled_and_other_classifiers_learn_whole() -> None:
    import timm

    from vhs.training import optimization

    for name in ("deit_tiny_distilled_patch16_224", "levit_128s"):
        net = timm.create_model(name, num_classes=3)
        optimization.freeze(net, Recipe(freeze="all"))
        learn = {name.split(".")[0] for name, parameter in net.named_parameters() if parameter.requires_grad}
        assert learn == {"head", "head_dist"}
    net = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=3)
    lora.adapt(net, 2)
    assert net.head_dist.weight.requires_grad


def test_what_is_frozen_stays_still(vhs, squares: Path) -> None:
    assert (
        vhs("train", squares, "--set", "arch=test_resnet", "--epochs", 1, "--batch", 40, "-o", "r.safetensors")[0] == 0
    )
    common = ("train", squares, "--init", "r.safetensors", "--epochs", 1, "--batch", 40)
    assert vhs(*common, "--freeze", "all", "-o", "s.safetensors")[0] == 0
    before, after = weights("r.safetensors"), weights("s.safetensors")
    assert {name for name in after if not torch.equal(before[name], after[name])} <= {"fc.weight", "fc.bias", "head.fc.weight",
                                                                                      "head.fc.bias"}  # fmt: skip


def test_freezing_low_rank_and_layer_decay_from_the_command_line(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    common = ("train", toy_shards, "--recipe", "finetune", "--init", toy_checkpoint, "--epochs", 1, "--batch", 24)
    before = weights(str(toy_checkpoint))
    for options, moved in {
        ("--freeze", 2): {"blocks.2.attn.qkv.weight", "norm.weight", "head.weight"},
        ("--freeze", "all"): {"head.weight"},
        ("--lora", 4): {"blocks.0.attn.qkv.weight", "blocks.2.attn.qkv.weight", "head.weight"},
    }.items():
        code, _, err = vhs(*common, *options, "-o", "f.safetensors")
        assert code == 0, err
        after = weights("f.safetensors")
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        assert moved <= changed, options
        assert not [name for name in changed if name.startswith("blocks.0") and options != ("--lora", 4)], options
        if options[0] == "--lora":
            assert all("qkv.weight" in name or name.startswith("head.") for name in changed)
            third = after["blocks.1.attn.qkv.weight"].split(16)
            assert torch.equal(third[1], before["blocks.1.attn.qkv.weight"].split(16)[1]), "keys stay"
    info = checkpoints.read_info(Path("f.safetensors"))
    assert info.parent and info.parent.startswith(str(toy_checkpoint)) and info.recipe["lora"] == 4
    assert vhs("ablate", "f.safetensors", "--max-samples", 40, "-o", "f.csv")[0] == 0
    code, _, err = vhs(*common, "--freeze", 9, "-o", "g.safetensors")
    assert code == 2 and "freeze: 9 blocks, the model has 3" in err
    code, _, err = vhs(*common, "--freeze", 1, "--lora", 2, "-o", "g.safetensors")
    assert code == 2 and "lora freezes all" in err


def test_layer_decay_slows_the_first_blocks() -> None:
    from vhs.training import optimization

    net = build(ViTSpec(**SMALL))
    optimizer = optimization.optimizer(net, Recipe(layer_decay=0.5), torch.device("cpu"))
    optimization.set_rate(optimizer, 1.0)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = [rate[id(block.mlp.fc1.weight)] for block in net.blocks]
    assert found == [0.125, 0.25, 0.5] and rate[id(net.head.weight)] == 1 and rate[id(net.pos_embed)] == 0.0625
