"""timm's architectures with arguments, sizes told by tensors, names that are wrong, and weights that are not there."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import timm
import torch
from torch import nn

from tests.hf_folders import LABELS, PIXELS, VIT, on_disk
from vhs.errors import InputError, UsageError
from vhs.formats import architectures, checkpoints, hub, references
from vhs.formats.sharding import write_set
from vhs.formats.split import from_arrays
from vhs.models import arguments
from vhs.models.building import parameter_shapes
from vhs.models.spec import spec_from_json

CPU = torch.device("cpu")
SMALL = "vit_tiny_patch16_224"


def saved(path: Path, name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    net = timm.create_model(name, **options).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    torch.save(net.state_dict(), path)
    return net


TOLD = {
    "dinov2 at 98": ("vit_small_patch14_dinov2", {"img_size": 98, "depth": 2}, ""),
    "dinov2 with registers": ("vit_small_patch14_reg4_dinov2", {"img_size": 56, "depth": 1, "reg_tokens": 3}, ""),
    "patch": (SMALL, {"img_size": 32, "patch_size": 8, "depth": 2}, ""),
    "patch, as many positions": (SMALL, {"img_size": 112, "patch_size": 8, "depth": 1}, ""),
    "grey": (SMALL, {"in_chans": 1, "depth": 1}, ""),
    "narrow": (SMALL, {"embed_dim": 60, "num_heads": 5, "depth": 2}, "num_heads=5"),
    "mlp": (SMALL, {"mlp_ratio": 2.3, "depth": 1}, ""),
    "layer scale, no bias": (SMALL, {"init_values": 1e-5, "qkv_bias": False, "depth": 1}, ""),
    "average pool": (SMALL, {"global_pool": "avg", "class_token": False, "depth": 1, "img_size": 64}, ""),
    "not square": (SMALL, {"img_size": (48, 32), "depth": 1}, "img_size=48x32"),
    "oblong patches": (SMALL, {"img_size": (48, 24), "patch_size": (16, 8), "depth": 1}, ""),
    "eva": ("eva02_tiny_patch14_224", {"img_size": 56, "depth": 2}, ""),
    "swin": ("swin_tiny_patch4_window7_224", {"img_size": 56, "window_size": 7, "depths": (1, 2), "num_heads": (3, 6),
             "embed_dim": 24}, "img_size=56,depths=1x2,num_heads=3x6,embed_dim=24"),
}  # fmt: skip


@pytest.mark.parametrize("case", TOLD)
def test_sizes_are_told_by_tensors_or_by_arguments(case: str, tmp_path: Path) -> None:
    name, options, text = TOLD[case]
    net = saved(tmp_path / "w.pth", name, num_classes=7, **options)
    loaded = references.load(f"timm:{name}{':' + text if text else ''}@{tmp_path / 'w.pth'}", CPU)
    own, side = loaded.model.preprocess, options.get("img_size", 224)
    height, width = (side, side) if isinstance(side, int) else side
    assert (own.height, own.width, own.channels) == (height, width, options.get("in_chans", 3))
    assert len(own.mean) == len(own.std) == own.channels and len(loaded.model.classes) == 7
    pixels = torch.randn(2, own.channels, height, width)
    with torch.inference_mode():
        assert torch.equal(loaded.model.net(pixels), net(pixels))
    spec = spec_from_json(json.loads(json.dumps(loaded.model.spec.to_json())), "x")
    assert spec == loaded.model.spec
    assert parameter_shapes(spec) == {key: tuple(value.shape) for key, value in net.state_dict().items()}


def test_what_tensors_do_not_tell_is_asked_for(tmp_path: Path) -> None:
    saved(tmp_path / "w.pth", SMALL, embed_dim=60, num_heads=5, depth=1)
    with pytest.raises(InputError, match=r"60 features wide, the architecture 192\..*add :num_heads=N"):
        references.load(f"timm:{SMALL}@{tmp_path / 'w.pth'}", CPU)
    saved(tmp_path / "v.pth", SMALL, img_size=(48, 32), depth=1)
    with pytest.raises(InputError, match=r"6 positions, which is no square: add :img_size=HEIGHTxWIDTH"):
        references.load(f"timm:{SMALL}@{tmp_path / 'v.pth'}", CPU)
    with pytest.raises(InputError, match=r"blocks\.1\.\S+ \(.*\) is missing"):
        references.load(f"timm:{SMALL}:img_size=48x32,depth=2@{tmp_path / 'v.pth'}", CPU)


def test_a_checkpoint_tuned_from_arguments_reloads(vhs, tmp_path: Path) -> None:
    """Begun with a ViT of another patch and depth, trained on, stored, read, ablated, and begun with again."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        images, labels = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8), np.arange(40) % 7
        data = from_arrays(images, labels, name="seven", split=split, classes="abcdefg", prefix=split)
        write_set(tmp_path / "seven" / split, data)
    saved(tmp_path / "w.pth", SMALL, img_size=40, patch_size=8, depth=2, num_classes=5)
    begin = f"timm:{SMALL}@{tmp_path / 'w.pth'}"
    small = ("train", tmp_path / "seven", "--recipe", "finetune", "--epochs", 1, "--batch", 20)
    code, _, err = vhs(*small, "--init", begin, "-o", "a.safetensors")
    assert code == 0, err
    info = checkpoints.read_info(Path("a.safetensors"))
    assert info.spec.arguments == "depth=2,patch_size=8" and info.spec.height == 32
    assert info.timm == {"name": SMALL, "kwargs": {"num_classes": 7, "in_chans": 3, "depth": 2, "patch_size": 8, "img_size": [32, 32]}}  # fmt: skip
    stock = timm.create_model(info.timm["name"], **info.timm["kwargs"])
    stock.load_state_dict(checkpoints.load(Path("a.safetensors"))[1], strict=True)
    code, _, err = vhs("ablate", "a.safetensors", "-o", "t.csv")
    assert code == 0 and pl.read_csv("t.csv").height == 7, err
    code, out, err = vhs("info", "a.safetensors")
    assert code == 0 and "depth=2,patch_size=8" in out, err
    assert vhs(*small, "--init", "a.safetensors", "-o", "b.safetensors")[0] == 0
    assert checkpoints.read_info(Path("b.safetensors")).spec == info.spec


WRONG = (
    ("depth", "expected NAME=VALUE, with one of the names img_size"),
    ("depth=", "expected a whole number"),
    ("depth=three", "depth=three: expected a whole number"),
    ("depth=-1", "expected a whole number"),
    ("depth=2000", "depth=2000: expected 1 to 1024"),
    ("depth=2,depth=3", "depth is given twice"),
    ("depth=2x3", "timm does not build|is not built so"),
    ("checkpoint_path=/etc/passwd", "expected NAME=VALUE"),
    ("pretrained_cfg=x", "expected NAME=VALUE"),
    ("block_fn=x", "expected NAME=VALUE"),
    ("img_size=99999", "expected 1 to 2048"),
    ("img_size=" + "9" * 5000, "expected a whole number"),
    ("img_size=٣", "expected a whole number"),
    ("mlp_ratio=nan", "expected a number above 0"),
    ("mlp_ratio=1e99", "expected a number above 0"),
    ("qkv_bias=1", "expected true or false"),
    ("global_pool=sum", "expected token, avg"),
    ("img_size=2048,patch_size=1", "cuts an image into 4194304 patches; at most 16384"),
    ("embed_dim=60000,num_heads=3", "518,527,501,000 parameters; at most 268,435,456"),
    ("embed_dim=100,num_heads=3", "timm does not build"),
)


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_wrong_argument_is_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        references.load(f"timm:{SMALL}:{text}", CPU, trained=False)
    assert "\n" not in str(error.value)


def test_an_argument_the_architecture_does_not_take_is_named() -> None:
    with pytest.raises(InputError, match="resnet18 takes no depth"):
        references.load("timm:resnet18:depth=3", CPU, trained=False)


def test_arguments_are_written_as_they_are_read() -> None:
    text = "depth=3,img_size=98x56,init_values=none,mlp_ratio=2.5,qk_norm=true"
    assert arguments.text_of(arguments.parse(text).items()) == text
    assert arguments.parse("") == {}
    with pytest.raises(UsageError):
        arguments.parse("=")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("depth=9999", "expected 1 to 1024"),
        ("img_size=32", "expected text such as depth=3"),
        (7, "expected text such as"),
        ("x" * 5000, "expected NAME=VALUE"),
        (["depth=3"], "expected text such as"),
    ],
)
def test_hostile_arguments_in_a_checkpoint_are_refused(told: object, words: str) -> None:
    size = {"name": "test_vit", "height": 32, "width": 32, "channels": 3, "classes": 2}
    with pytest.raises(InputError, match=words):
        spec_from_json(size | {"arguments": told}, "x")
    fine = spec_from_json(size | {"height": 2048, "width": 2048, "arguments": "patch_size=1"}, "x")
    with pytest.raises(InputError, match="4194304 patches"):
        parameter_shapes(fine)


def test_checkpoints_from_before_arguments_are_read() -> None:
    spec = spec_from_json({"name": "test_vit", "height": 32, "width": 32, "channels": 3, "classes": 2}, "x")
    assert spec.arguments == "" and parameter_shapes(spec)


def test_names_that_lead_nowhere_say_what_would(vhs, tmp_path: Path, toy_checkpoint: Path) -> None:
    saved(Path("224.pth"), "test_vit", num_classes=5)
    torch.save({"x": torch.zeros(1)}, "old.pt", _use_new_zipfile_serialization=False)
    Path("hub").mkdir()
    Path("hub/config.json").write_text("{}")
    for name, words in (
        ("224.pth", "224.pth: is a file of torch weights, not a vhs checkpoint. Use timm:ARCH@224.pth"),
        ("old.pt", "Use timm:ARCH@old.pt"),
        (SMALL, f"timm has an architecture of this name: timm:{SMALL}"),
        ("vit_tinny_patch16_224", f"Did you mean timm's: timm:{SMALL}?"),
        ("hub", "Use hf:hub"),
        ("timm:vit_tinny_patch16_224", f"Did you mean timm:{SMALL}?"),
        (f"timm:{SMALL}.augreg_in21k_ft_in1", f"Did you mean timm:{SMALL}.augreg_in21k_ft_in1k?"),
        ("timm:zzzzzz", "`timm.list_models()` lists them"),
        ("gone.safetensors", "No such file"),
        ("a" * 300, "File name too long"),
    ):
        code, _, err = vhs("ablate", name)
        assert code == 3 and words in err and err.count("\n") == 1, err
    for name in ("224.pth", SMALL):
        code, _, err = vhs("info", name)
        assert code == 3 and "timm:" in err and err.count("\n") == 1, err


@pytest.fixture
def silent_hub(monkeypatch, tmp_path: Path) -> None:
    """An empty cache, and a hub at an address where nothing ever answers."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("reference", [f"timm:{SMALL}", "hf:google/vit-base-patch16-224"])
def test_what_is_not_cached_fails_at_once(reference: str, silent_hub, monkeypatch) -> None:
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"is not in the cache .*and 127\.0\.0\.1 does not answer.*HF_HUB_OFFLINE=0"):
        references.load(reference, CPU)
    assert time.monotonic() - begun < 5, "a second of patience, on a busy machine"
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE forbids to fetch it"):
        references.load(reference, CPU)


def test_a_name_that_cannot_be_looked_up_does_not_hold_anyone(silent_hub, monkeypatch) -> None:
    import socket

    def unanswered(*_: object, **__: object) -> None:
        time.sleep(20)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", unanswered)
    begun = time.monotonic()
    with pytest.raises(InputError, match="does not answer"):
        hub.check("timm:x", "Give the weights")
    assert time.monotonic() - begun < 5
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub.check("timm:x", "Give the weights")


def test_a_hub_that_answers_is_asked(silent_hub, monkeypatch) -> None:
    """The quick look is no verdict on the file: the hub's own answer is what is told."""
    monkeypatch.setattr(hub, "_answers", lambda _endpoint: True)
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("401\nno")))
    with pytest.raises(InputError, match="weights cannot be loaded: 401 no"):
        references.load(f"timm:{SMALL}", CPU)


def test_names_the_hub_could_not_have_are_told_apart(silent_hub) -> None:
    for name in ("a/b/c", "../x", "-", "a" * 300):
        with pytest.raises(InputError, match="is no folder here, and no name that the hub could have"):
            references.load(f"hf:{name}", CPU)


def cache_of(root: Path, repository: str, files: dict[str, Path]) -> None:
    """A hub cache that holds one snapshot."""
    folder = root / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("0" * 40)
    for name, file in files.items():
        (snapshot / name).write_bytes(file.read_bytes())


def test_what_is_cached_is_taken_without_a_network(silent_hub, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = timm.create_model("test_vit", num_classes=1000)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    repository = timm.get_pretrained_cfg("test_vit").hf_hub_id
    cache_of(tmp_path / "cache", repository, {"model.safetensors": tmp_path / "w.safetensors"})
    import huggingface_hub.constants as constants

    begun = time.monotonic()
    loaded = references.load("timm:test_vit", CPU)
    assert torch.equal(loaded.model.net.head.weight, net.head.weight) and constants.HF_HUB_OFFLINE is False
    plain = timm.models.VisionTransformer(
        img_size=33, patch_size=11, num_classes=7, embed_dim=30, depth=3, num_heads=5, mlp_ratio=53 / 30
    )
    save_file(on_disk(plain), tmp_path / "v.safetensors")
    (tmp_path / "c.json").write_text(json.dumps(VIT | LABELS))
    (tmp_path / "p.json").write_text(json.dumps(PIXELS))
    files = {"config.json": "c.json", "preprocessor_config.json": "p.json", "model.safetensors": "v.safetensors"}
    cache_of(tmp_path / "cache", "some/vit", {name: tmp_path / file for name, file in files.items()})
    assert references.load("hf:some/vit", CPU).model.classes == tuple("abcdefg")
    assert time.monotonic() - begun < 10


def test_references_are_split_at_their_marks() -> None:
    assert architectures.split("timm:a.b") == ("a.b", "", "")
    assert architectures.split("timm:a:depth=3@x@y:z") == ("a", "depth=3", "x@y:z")
