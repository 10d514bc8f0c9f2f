"""What transformers writes into a folder of a ViT: its description, and tensors by its names."""

from __future__ import annotations

import torch
from torch import Tensor

from vhs.formats import huggingface

SIZES = {"hidden_size": 30, "num_hidden_layers": 3, "num_attention_heads": 5, "num_channels": 3}
VIT = SIZES | {
    "model_type": "vit",
    "intermediate_size": 53,
    "image_size": 33,
    "patch_size": 11,
    "layer_norm_eps": 1e-12,
}
PIXELS = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2] * 3, "size": {"height": 33, "width": 33}}
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
