"""Beginning with another model, freezing, low-rank parts; parts for small data; other architectures; targets; processes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.naive import ablated_logits
from tests.networks import randomised
from tests.shells import torchrun
from tests.trainings import training
from vhs.errors import MismatchError
from vhs.fitting import start
from vhs.formats import checkpoints, references
from vhs.formats.shards import ShardSet
from vhs.models.building import build, parameter_shapes
from vhs.models.engine import engine_of, keeps, zero
from vhs.models.spec import ViTSpec
from vhs.training import lora
from vhs.training.recipe import Recipe

SIZES = {"depth": 3, "dim": 24, "heads": 3, "head_width": 8, "hidden": 30, "patch": 11, "height": 33, "width": 22,
         "channels": 1, "classes": 7}  # fmt: skip
PARTS = {
    "spt": {"spt": True}, "patch norm": {"patch_norm": True}, "lsa": {"lsa": True}, "no last residual": {"last_residual": False},
    "layer scale": {"layer_scale": True}, "lsa, wide, average": {"lsa": True, "head_width": 5, "pool": "avg"},
    "all": {"spt": True, "lsa": True, "last_residual": False, "layer_scale": True, "registers": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_our_own_are_ablated_as_by_the_naive_loop(name: str) -> None:
    spec = ViTSpec(**SIZES | PARTS[name])
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

    net = randomised(build(ViTSpec(**SIZES | {"lsa": True})))
    tokens = torch.randn(2, 7, 24)
    attn = net.blocks[0].attn
    maps = seam.attention_maps(attn, tokens)
    assert maps.diagonal(dim1=-2, dim2=-1).abs().max() == 0 and torch.allclose(maps.sum(-1), torch.ones(2, 3, 7))
    with torch.inference_mode():
        before = seam.head_outputs(attn, tokens)
        values = seam.values(attn, tokens)
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
    embed = build(ViTSpec(**SIZES | {"channels": 3, kind: True})).patch_embed
    images = torch.randn(2, 3, 33, 22)
    cut = F.unfold(embed.seen(images), 11, stride=11).transpose(1, 2)
    assert torch.equal(embed(images), embed.norm_after(embed.proj(embed.norm(cut))))


@pytest.mark.parametrize("kind", ["spt", "patch_norm", "lsa"])
def test_models_with_parts_of_our_own_go_through_every_command(kind: str, toy_shards: Path, vhs) -> None:
    small = ("--depth", 2, "--dim", 16, "--heads", 2, "--patch", 14, "--epochs", 1)
    assert vhs("train", toy_shards, *small, "--set", f"{kind}=true", "-o", "m.safetensors")[0] == 0
    for command in ("ablate", "evalshift", "specialize"):
        code, _, err = vhs(command, "m.safetensors", "--data", toy_shards / "val", "-o", f"{command}.csv")
        assert code == 0 and Path(f"{command}.csv").exists(), err
    assert vhs("info", "m.safetensors", "-o", "info.png")[0] == 0


def test_normed_patches_have_no_brightness() -> None:
    embed = build(ViTSpec(**SIZES | {"patch_norm": True})).patch_embed
    images = torch.randn(2, 1, 33, 22)
    tokens = embed(images)
    assert torch.allclose(embed(3 * images + 5), tokens, atol=1e-4)
    assert tokens.mean(-1).abs().max() < 1e-5 and torch.allclose(
        tokens.std(-1, correction=0), torch.ones(2, 6), atol=1e-3
    )


def adapted(rank: int = 4) -> nn.Module:
    torch.manual_seed(0)
    net = build(ViTSpec(**SIZES))
    lora.adapt(net, rank)
    return net


def test_merged_low_rank_parts_equal_the_adapter() -> None:
    net = adapted()
    plain = build(ViTSpec(**SIZES))
    plain.load_state_dict(lora.merged(net).state_dict(), strict=True)
    pixels = torch.randn(4, 1, 33, 22)
    assert torch.equal(net.eval()(pixels), plain.eval()(pixels))
    for name, parameter in net.named_parameters():
        if "up_" in name:
            nn.init.normal_(parameter, std=0.1)
    assert not torch.allclose(net(pixels), plain(pixels))
    plain.load_state_dict(lora.merged(net).state_dict(), strict=True)
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


def weights(path: str) -> dict[str, Tensor]:
    return checkpoints.load(Path(path))[1]


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

    net = build(ViTSpec(**SIZES))
    optimizer = optimization.optimizer(net, Recipe(layer_decay=0.5), torch.device("cpu"))
    optimization.set_rate(optimizer, 1.0)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = [rate[id(block.mlp.fc1.weight)] for block in net.blocks]
    assert found == [0.125, 0.25, 0.5] and rate[id(net.head.weight)] == 1 and rate[id(net.pos_embed)] == 0.0625


def test_weights_are_fitted_to_other_sizes_channels_and_classes(toy_checkpoint: Path) -> None:
    size = start.Size(56, 42, 3, ("x", "y"))
    began = start.from_model(str(toy_checkpoint), size)
    net = build(began.spec)
    state = net.state_dict() | began.weights
    net.load_state_dict(state, strict=True)
    assert net(torch.zeros(1, 3, 56, 42)).shape == (1, 2) and "head.weight" not in began.weights
    old = weights(str(toy_checkpoint))
    assert torch.allclose(
        began.weights["patch_embed.proj.weight"].sum(1), old["patch_embed.proj.weight"].sum(1), atol=1e-6
    )
    assert torch.equal(began.weights["blocks.1.mlp.fc1.weight"], old["blocks.1.mlp.fc1.weight"])
    same = start.from_model(
        str(toy_checkpoint), start.Size(42, 28, 1, tuple(checkpoints.read_info(toy_checkpoint).classes))
    )
    assert torch.equal(same.weights["head.weight"], old["head.weight"])


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """A train and a val set of grey images of 32 px."""
    from vhs.formats.sharding import write_set
    from vhs.formats.split import from_arrays

    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        images, labels = rng.integers(0, 256, (80, 32, 32), dtype=np.uint8), np.arange(80) % 3
        write_set(
            tmp_path / "sq" / split, from_arrays(images, labels, name="sq", split=split, classes="abc", prefix=split)
        )
    return tmp_path / "sq"


def test_any_timm_architecture_trains_is_stored_and_ablated(vhs, squares: Path, toy_shards: Path) -> None:
    code, _, err = vhs("train", squares, "--set", "arch=test_vit", "--epochs", 1, "--batch", 40, "-o", "t.safetensors")
    assert code == 0, err
    info = checkpoints.read_info(Path("t.safetensors"))
    assert info.spec.name == "test_vit" and info.timm["name"] == "test_vit"
    loaded = references.load("t.safetensors", torch.device("cpu"))
    assert loaded.model.engine.path == "fast" and loaded.model.classes == info.classes
    assert vhs("ablate", "t.safetensors", "--max-samples", 40, "-o", "t.csv")[0] == 0
    code, out, _ = vhs("info", "t.safetensors")
    assert code == 0 and "test_vit" in out and "fast" in out
    code, _, err = vhs(
        "train", squares, "--set", "arch=test_resnet", "--epochs", 1, "--batch", 40, "-o", "r.safetensors"
    )
    assert code == 0 and vhs("evalshift", "r.safetensors", "-o", "r.csv")[0] == 0, err
    code, _, err = vhs("train", squares, "--set", "arch=no_such_net", "-o", "r.safetensors")
    assert code == 3 and "timm knows no architecture 'no_such_net'" in err
    code, _, err = vhs("train", toy_shards, "--set", "arch=test_vit", "-o", "r.safetensors")
    assert code == 2 and "test_vit: does not take images of 42x28 px with 1 channels: Input height (42)" in err


@pytest.mark.parametrize("workers", [0, 2])
def test_images_augmented_one_by_one_are_the_same_with_any_workers(vhs, toy_shards: Path, workers: int) -> None:
    settings = [x for key in ("randaug=rand-m9-mstd0.5-inc1", "resized_crop=true", "flip=true", "repeats=2", "cutmix=1.0",
                              "erase=0.5", "mixup=0.8", "accumulate=2") for x in ("--set", key)]  # fmt: skip
    small = ("--depth", 1, "--dim", 8, "--heads", 2, "--patch", 14, "--epochs", 2, "--batch", 40)
    code, _, err = vhs("train", toy_shards, *small, *settings, "--workers", workers, "-o", "a.safetensors")
    assert code == 0, err
    assert vhs("train", toy_shards, *small, *settings, "--workers", 1, "-o", "b.safetensors")[0] == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_a_streamed_run_stopped_in_an_epoch_goes_on_to_the_same_bytes(tmp_path: Path, toy_shards: Path) -> None:
    recipe = Recipe(depth=1, dim=8, heads=2, patch=14, batch=24, epochs=3, resized_crop=True, repeats=3, mixup=0.5)
    assert training(tmp_path / "a", toy_shards, recipe=recipe).run(resuming=False)
    count = [0]

    def stop() -> bool:
        count[0] += 1
        return count[0] == 7

    assert not training(tmp_path / "b", toy_shards, recipe=recipe, stop=stop).run(resuming=False)
    assert training(tmp_path / "b", toy_shards, recipe=recipe).run(resuming=True)
    assert (tmp_path / "a/m.safetensors").read_bytes() == (tmp_path / "b/m.safetensors").read_bytes()


def test_accumulated_parts_are_one_update(tmp_path: Path, toy_shards: Path) -> None:
    logs = []
    for parts in (1, 3):
        recipe = Recipe(depth=2, dim=8, heads=2, patch=14, batch=24, epochs=2, mixup=0.5, accumulate=parts, clip=1.0)
        run = training(tmp_path / str(parts), toy_shards, recipe=recipe)
        assert run.run(resuming=False)
        logs.append([row["train_loss"] for row in run.log])
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)


def test_two_processes_draw_the_curve_of_one(tmp_path: Path, toy_shards: Path) -> None:
    settings = [x for key in ("mixup=0.8", "cutmix=1.0", "crop=true", "flip=true", "drop_path=0.3", "ema=0.9", "clip=1.0",
                              "erase=0.25", "accumulate=2") for x in ("--set", key)]  # fmt: skip
    sizes = ["--depth", "2", "--dim", "16", "--heads", "2", "--patch", "14", "--epochs", "4", "--batch", "24"]
    logs = []
    for ranks in (1, 2):
        out = tmp_path / f"m{ranks}.safetensors"
        done = torchrun(ranks, "train", toy_shards, *sizes, *settings, "--threads", 1, "--device", "cpu", "-o", out)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(str(out)) == 1
        logs.append(pl.read_csv(out.with_suffix(".train.csv")))
    one, two = logs
    assert np.allclose(one["train_loss"], two["train_loss"], rtol=1e-4) and one["n"].to_list() == two["n"].to_list()
    assert np.allclose(one["loss"], two["loss"], rtol=1e-3)


def test_more_processes_than_a_batch_can_be_shared_by_is_said(tmp_path: Path, toy_shards: Path) -> None:
    options = ("--patch", 14, "--batch", 6, "--device", "cpu", "-o", tmp_path / "x.safetensors")
    done = torchrun(2, "train", toy_shards, *options)
    assert done.returncode != 0 and "batch 6 cannot be shared in pairs by 2 processes" in done.stderr


def test_a_failing_tracker_is_a_warning(vhs, toy_shards: Path, monkeypatch) -> None:
    import types

    class Run:
        def __init__(self) -> None:
            self.rows: list[tuple[int, dict]] = []

        def log(self, row: dict, step: int) -> None:
            self.rows.append((step, row))
            if len(self.rows) == 2:
                raise RuntimeError("no route to host")

        def finish(self) -> None:
            raise AssertionError("not after a failure")

    run = Run()
    fake = types.SimpleNamespace(init=lambda **_: run, Settings=lambda **_: None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    small = ("--depth", 1, "--dim", 8, "--heads", 2, "--patch", 14, "--epochs", 3, "--batch", 40)
    code, _, err = vhs("train", toy_shards, *small, "--track", "wandb", "-o", "a.safetensors")
    assert code == 0 and err.count("wandb: no route to host; going on without it") == 1
    assert [step for step, _ in run.rows] == [3, 6] and run.rows[0][1]["top1"] >= 0
    monkeypatch.setitem(sys.modules, "wandb", None)
    code, _, err = vhs("train", toy_shards, *small, "--track", "wandb", "-o", "b.safetensors")
    assert code == 2 and "pip install 'vhs-heads[wandb]'" in err
    code, _, err = vhs("train", toy_shards, *small, "--track", "paper", "-o", "b.safetensors")
    assert code == 2 and "--track paper: expected wandb" in err


def test_sets_that_do_not_fit_are_refused(toy_shards: Path) -> None:
    from vhs.fitting.start import check_pair

    train, val = (ShardSet.open(toy_shards / split) for split in ("train", "val"))
    other = ShardSet(val.folder, type(val.manifest)(**{**vars(val.manifest), "classes": ("a",) * 5}))
    with pytest.raises(MismatchError, match="its classes are not those of"):
        check_pair(train, other)


def test_randaugment_never_asks_pillow_for_no_bits() -> None:
    """At magnitude 10, which mstd0.5 reaches, timm posterizes to 0 bits."""
    from PIL import Image

    from vhs.fitting.streaming import Reader
    from vhs.seeds import seeded
    from vhs.training.recipe import named

    made = type("Data", (), {"manifest": type("Told", (), {"mean": (0.5,), "std": (0.2,)})})()
    (augment,) = Reader(made, [], named("deit").with_values({"resized_crop": False}, ""), (8, 8)).transforms
    image = Image.new("RGB", (8, 8), "grey")
    for index in range(8000):
        with seeded(index):
            augment(image)


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


def test_drop_path_of_blocks_with_several_rows_an_image(vhs, squares: Path) -> None:
    from vhs.training.droppath import Rows, SharedDropPath

    rows = Rows(6, torch.tensor([1, 4]))
    module = SharedDropPath(0.5, rows).train()
    torch.manual_seed(0)
    whole = torch.rand(6, 3) >= 0.5
    torch.manual_seed(0)
    assert torch.equal((module(torch.ones(6, 2)) > 0)[:, 0].view(2, 3), whole[[1, 4]])
    assert (
        vhs("train", squares, "--set", "arch=vit_tiny_patch16_224", "--epochs", 1, "-o", "ok.safetensors", "--dry-run")[
            0
        ]
        == 0
    )


def test_a_run_is_continued_only_as_it_was_begun(vhs, toy_checkpoint: Path, toy_shards: Path, tmp_path: Path) -> None:
    begun = training(
        tmp_path, toy_shards, begin=str(toy_checkpoint), stop=lambda: True, recipe=Recipe(epochs=2, batch=24, patch=14)
    )
    assert not begun.run(resuming=False)
    with pytest.raises(MismatchError, match="was begun with parent"):
        training(tmp_path, toy_shards, recipe=Recipe(epochs=2, batch=24, patch=14)).run(resuming=True)
    small = ("train", toy_shards, "--patch", 14, "--depth", 1, "--dim", 8, "--heads", 2, "--epochs", 2, "--batch", 24)
    assert vhs(*small, "-o", "a.safetensors")[0] == 0
    code, _, err = vhs(*small, "--resume", "--init", toy_checkpoint, "-o", "a.safetensors")
    assert code == 0 and "already trained" not in err and "of no account, the sizes are those of" in err


def test_snapshots_find_their_data_and_are_in_the_run(vhs, toy_shards: Path) -> None:
    small = ("train", toy_shards, "--patch", 14, "--depth", 1, "--dim", 8, "--heads", 2, "--epochs", 2, "--batch", 24)
    assert vhs(*small, "--snapshots", "log", "-o", "a.safetensors")[0] == 0
    code, _, err = vhs(
        "ablate", *sorted(Path("a.snapshots").iterdir()), "a.safetensors", "--max-samples", 40, "-o", "t.csv"
    )
    assert code == 0, err
    assert pl.read_csv("t.csv")["step"].unique().sort().to_list() == [1, 2, 4, 8, 10]
    code, _, err = vhs("plot", "t.csv", "--kind", "trajectory", "-o", "t.png")
    assert code == 0, err
    code, _, err = vhs(*small, "--snapshots", "0,99", "-o", "b.safetensors")
    assert code == 2 and "the run has updates 1 to 10" in err


def test_mistakes_are_one_line(vhs, toy_shards: Path, squares: Path, toy_checkpoint: Path) -> None:
    for options, code, told in (
        (("--set", "randaug=foo"), 2, "randaug 'foo': expected timm's words"),
        (("--set", "arch=vit_tiny_patch16_224"), 2, "do not divide them"),
        (("--set", "freeze=99", "--dry-run", "--patch", 14), 2, "freeze: 99 blocks, the model has 6"),
        (("--skip-bad", "--set", "resized_crop=true", "--patch", 14), 2, "--skip-bad: images are read while training"),
        (("--set", "mixup=.5x"), 2, "mixup is '.5x', expected a number"),
    ):
        found, _, err = vhs("train", toy_shards, *options, "-o", "x.safetensors")
        assert found == code and told in err and "Traceback" not in err, (options, err)
    assert vhs("train", toy_shards, "--patch", 14, "--set", "mixup=.5", "--dry-run", "-o", "x.safetensors")[0] == 0


def test_a_damaged_image_in_a_worker_is_one_line(vhs, squares: Path) -> None:
    import json

    from vhs.formats.atomic import sha256

    tar = next((squares / "train").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    place = data.index(b"IDAT", 20_000)
    data[place + 8 : place + 40] = bytes(32)
    tar.write_bytes(data)
    manifest = json.loads((squares / "train/shards.json").read_text())
    manifest["tars"][0]["sha256"] = sha256(bytes(data))
    (squares / "train/shards.json").write_text(json.dumps(manifest))
    for workers in (0, 2):
        code, _, err = vhs(
            "train", squares, "--patch", 8, "--set", "resized_crop=true", "--workers", workers, "-o", "x.safetensors"
        )
        assert code == 3 and err.count("\n") == 1 and "cannot be decoded" in err, err


def test_checkpoints_of_hostile_architectures_are_refused(toy_checkpoint: Path) -> None:
    from vhs.errors import InputError
    from vhs.models.spec import spec_from_json

    size = {"height": 32, "width": 32, "channels": 3, "classes": 2}
    for name in ("vit_tiny_patch16_224.nosuchtag", "resnet18.a/b", "os.system", "", 7):
        with pytest.raises(InputError, match="timm knows no architecture"):
            spec_from_json(size | {"name": name}, "x")
    with pytest.raises(InputError, match="height is 9999"):
        spec_from_json(size | {"name": "test_vit", "height": 9999}, "x")
