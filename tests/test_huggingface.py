"""Hugging Face folders: made by transformers where it is installed (`make test-all`), else by the names it writes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from vhs.errors import InputError
from vhs.formats import huggingface

SIZES = {"hidden_size": 30, "num_hidden_layers": 3, "num_attention_heads": 5, "num_channels": 3}
VIT = SIZES | {
    "model_type": "vit",
    "intermediate_size": 53,
    "image_size": 33,
    "patch_size": 11,
    "layer_norm_eps": 1e-12,
}
LABELS = {"id2label": {str(index): name for index, name in enumerate("abcdefg")}}


def on_disk(net: torch.nn.Module) -> dict[str, Tensor]:
    """timm's tensors under the names that transformers saves a ViT with."""
    inside = {
        new: old for old, new in huggingface.BLOCK.items() if old.startswith(("attention.o", "lay", "inter", "out"))
    }
    outside = {new: old for old, new in huggingface.STEM.items() if old != "cls_classifier"}
    inside |= {"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense", "attn.proj": "attention.output.dense"}
    found = {}
    for name, tensor in net.state_dict().items():
        module, _, leaf = name.rpartition(".")
        if name.startswith("blocks."):
            _, layer, rest = module.split(".", 2)
            if rest == "attn.qkv":
                for part, word in zip(tensor.chunk(3), ("query", "key", "value"), strict=True):
                    found[f"vit.encoder.layer.{layer}.attention.attention.{word}.{leaf}"] = part.clone()
            else:
                found[f"vit.encoder.layer.{layer}.{inside[rest]}.{leaf}"] = tensor.clone()
        else:
            key = outside.get(name) or f"{outside[module]}.{leaf}"
            found[key if key.startswith("classifier") else f"vit.{key}"] = tensor.clone()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(0)
    net = timm.models.VisionTransformer(
        img_size=33, patch_size=11, num_classes=7, embed_dim=30, depth=3, num_heads=5, mlp_ratio=53 / 30,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-12),
    ).eval()  # fmt: skip
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path / "vit"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(VIT | LABELS))
    (path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2] * 3}))
    save_file(on_disk(net), path / "model.safetensors")
    return path, net


def test_a_vit_folder_gives_the_networks_logits(folder) -> None:
    path, net = folder
    told = huggingface.load(str(path))
    pixels = torch.randn(2, 3, 33, 33)
    with torch.inference_mode():
        assert torch.allclose(told.net.eval()(pixels), net(pixels), atol=1e-6)
    assert told.classes == tuple("abcdefg") and told.mean == (0.4, 0.5, 0.6) and told.size == (33, 33)


def test_it_ablates_with_the_integers_of_its_timm_twin(folder, vhs, tmp_path) -> None:
    import numpy as np
    import polars as pl

    from tests.test_engines import naive
    from vhs.formats.sharding import write_set
    from vhs.formats.split import from_arrays
    from vhs.models.engine import engine_of
    from vhs.models.model import Preprocess

    path, net = folder
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (32, 33, 33, 3), dtype=np.uint8), np.arange(32) % 7
    write_set(tmp_path / "seven", from_arrays(images, labels, name="seven", split="val", classes="abcdefg", prefix="s"))
    code, _, err = vhs("ablate", f"hf:{path}", "--data", tmp_path / "seven", "-o", "t.csv")
    assert code == 0, err
    table = pl.read_csv("t.csv")
    preprocess = Preprocess(height=33, width=33, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2,) * 3)
    with torch.inference_mode():
        logits = naive(net, engine_of(net), preprocess(torch.from_numpy(images).permute(0, 3, 1, 2)))
    right = (logits.argmax(-1) == torch.from_numpy(labels)).sum(1).tolist()
    assert table["n_near_tie"].sum() == 0 and table["n_correct"].to_list() == right
    loss = torch.nn.functional.cross_entropy(logits[1].double(), torch.from_numpy(labels)).item()
    assert abs(table["loss"][1] - loss) < 1e-4 and table["dloss"].abs().max() > 1e-3
    code, out, err = vhs("info", f"hf:{path}")
    assert code == 0 and "15 in 3 layers: 0-2: 5" in out and "fast" in out, err


def test_what_is_wrong_with_a_folder_is_one_line(folder, vhs, toy_shards) -> None:
    path, net = folder
    config = json.loads((path / "config.json").read_text())
    state = on_disk(net)
    lacking = {name: tensor for name, tensor in state.items() if "layer.2.attention.attention.key.weight" not in name}
    for change, tensors, words in (
        ({"model_type": "swin"}, state, "model_type 'swin'; read are vit, deit, dinov2"),
        ({}, lacking, "has q, v, expected q, k and v"),
        ({"hidden_size": 35}, state, "expected (1, 1, 35)"),
        ({}, state | {"vit.odd.weight": torch.zeros(2)}, "vit.odd.weight is not known"),
    ):
        (path / "config.json").write_text(json.dumps(config | change))
        save_file(tensors, path / "model.safetensors")
        code, _, err = vhs("evalshift", f"hf:{path}", "--data", toy_shards / "val")
        assert code == 3 and words in err and err.count("\n") == 1, err
    (path / "config.json").unlink()
    with pytest.raises(InputError, match="A folder that transformers wrote was expected"):
        huggingface.load(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "deit", "deit distilled", "dinov2"])
def test_logits_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    sizes = {"hidden_size": 30, "num_hidden_layers": 3, "num_attention_heads": 5, "num_labels": 7}
    makers = {
        "vit": lambda: transformers.ViTForImageClassification(
            transformers.ViTConfig(**sizes, intermediate_size=53, image_size=33, patch_size=11)
        ),
        "deit": lambda: transformers.DeiTForImageClassification(
            transformers.DeiTConfig(**sizes, intermediate_size=53, image_size=33, patch_size=11)
        ),
        "deit distilled": lambda: transformers.DeiTForImageClassificationWithTeacher(
            transformers.DeiTConfig(**sizes, intermediate_size=53, image_size=33, patch_size=11)
        ),
        "dinov2": lambda: transformers.Dinov2ForImageClassification(
            transformers.Dinov2Config(**sizes, mlp_ratio=2, image_size=28, patch_size=7)
        ),
    }
    torch.manual_seed(0)
    theirs = makers[kind]().eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path)
    told = huggingface.load(str(tmp_path))
    pixels = torch.randn(2, 3, *told.size)
    with torch.inference_mode():
        want = theirs(pixels).logits
        got = told.net.eval()(pixels)
    assert (got - want).abs().max() / want.abs().max() < 1e-5
