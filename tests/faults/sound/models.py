"""Models: checkpoints of vhs and maps of what heads look at, Hugging Face folders, weights that torch pickled."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path

from tests.conftest import CLASSES
from tests.faults.cases import Files
from tests.faults.damage import arrays, blind, documents
from tests.faults.sound.format import NAMED, Format


def formats(toy: Files) -> list[Format]:
    checkpoint = {"c.safetensors": toy["a.safetensors"]}
    score = ("evalshift", "c.safetensors", "--data", "../toys/shards/val", "-q")
    header = ((90, ("info", "c.safetensors")), (10, (*score, "--max-samples", "4")))
    tensors = tuple(documents.below_header(way) for way in (*blind.BLIND, blind.flip, blind.flip))
    folder = {f"vit/{name}": data for name, data in _hugging().items()}
    ask = ((97, ("info", "hf:vit")), (3, ("evalshift", "hf:vit", "--data", "../toys/shards/val", "-q")))
    maps = {"m.safetensors": toy["maps.safetensors"]}
    draw = ((70, ("info", "m.safetensors")), (30, ("plot", "m.safetensors", "-o", "m.png")))
    json_ways = (*blind.TEXT, *[documents.as_json] * 8)
    return [
        Format("checkpoint header", checkpoint, "c.safetensors", (documents.safetensors_header,), header, share=6, places=NAMED),
        Format("checkpoint weights", checkpoint, "c.safetensors", tensors, ((100, score),), share=1, seal="same", places=NAMED),
        Format("checkpoint", checkpoint, "c.safetensors", blind.BLIND, ((95, ("info", "c.safetensors")), (5, score)), share=3, places=NAMED),
        Format("maps header", maps, "m.safetensors", (documents.safetensors_header,), draw, share=2, places=NAMED),
        Format("maps tensors", maps, "m.safetensors", tensors, draw, share=1, seal="same", places=NAMED),
        Format("maps", maps, "m.safetensors", blind.BLIND, draw, share=1, places=NAMED),
        Format("hf config.json", folder, "vit/config.json", json_ways, ask, share=1.5),
        Format("hf preprocessor", folder, "vit/preprocessor_config.json", json_ways, ask, share=0.7),
        Format("hf weights", folder, "vit/model.safetensors", (*blind.BLIND, documents.safetensors_header), ask, share=1),
        Format("torch pickle", {"w.pth": _pickle()}, "w.pth", (*blind.BLIND, *[arrays.as_pth] * 4),
               ((99, partial(_weights, "w.pth")), (1, ("info", "timm:vit_tiny_patch16_224@w.pth"))), share=4),
    ]  # fmt: skip


def _weights(name: str) -> object:
    from vhs.formats import weights

    return weights.read(Path(name))


def _pickle() -> bytes:
    import torch

    made = io.BytesIO()
    torch.save({"norm.weight": torch.zeros(8), "head.weight": torch.zeros(3, 8), "head.bias": torch.zeros(3)}, made)
    return made.getvalue()


def _hugging() -> Files:
    """A folder as transformers writes it, one layer of width 8."""
    import timm
    import torch
    from safetensors.torch import save

    from tests.hf_folders import on_disk

    net = timm.models.VisionTransformer(
        img_size=28, patch_size=14, in_chans=1, num_classes=5, embed_dim=8, depth=1, num_heads=2, mlp_ratio=2
    )
    config = {
        "model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_channels": 1,
        "intermediate_size": 16, "image_size": 28, "patch_size": 14, "layer_norm_eps": 1e-6, "hidden_act": "gelu", "qkv_bias": True,
        "id2label": {str(number): name for number, name in enumerate(CLASSES)},
    }  # fmt: skip
    told = {
        "image_mean": [0.5], "image_std": [0.5], "do_normalize": True, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_resize": True, "size": {"height": 28, "width": 28},
    }  # fmt: skip
    with torch.no_grad():
        tensors = {name: tensor.contiguous() for name, tensor in on_disk(net).items()}
    return {
        "config.json": json.dumps(config).encode(), "preprocessor_config.json": json.dumps(told).encode(),
        "model.safetensors": save(tensors),
    }  # fmt: skip
