"""Hugging Face folders (config.json, model.safetensors) as timm networks: ViT, DeiT and DINOv2 classifiers.

The names are those of transformers' modeling_vit.py, modeling_deit.py and modeling_dinov2.py, as saved to disk.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vhs.errors import InputError
from vhs.formats import weights

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer
    from torch import Tensor

HF = "hf:"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
KINDS = ("vit", "deit", "dinov2")
STEM = {
    "embeddings.cls_token": "cls_token", "embeddings.distillation_token": "dist_token",
    "embeddings.position_embeddings": "pos_embed", "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm", "classifier": "head", "cls_classifier": "head", "distillation_classifier": "head_dist",
}  # fmt: skip
BLOCK = {
    "attention.attention.query": "q", "attention.attention.key": "k", "attention.attention.value": "v",
    "attention.q_proj": "q", "attention.k_proj": "k", "attention.v_proj": "v",
    "attention.output.dense": "attn.proj", "attention.o_proj": "attn.proj", "layernorm_before": "norm1",
    "layernorm_after": "norm2", "norm1": "norm1", "norm2": "norm2", "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "layer_scale1": "ls1", "layer_scale2": "ls2",
}  # fmt: skip
"""Module names of transformers and of timm, outside the blocks and inside."""
UNUSED = ("mask_token", "pooler.")
"""Tensors that no answer depends on."""


class Described(NamedTuple):
    """A network with what its folder says: classes, image size px, pixel mean and std."""

    net: VisionTransformer
    classes: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load(name: str) -> Described:
    """The classifier in a folder, or of a hub name. Raises InputError naming what is missing or not supported."""
    folder = Path(name) if Path(name).is_dir() else _fetched(name)
    config = _json(folder / CONFIG)
    kind = config.get("model_type")
    if kind not in KINDS:
        raise InputError(f"{folder / CONFIG}: model_type {kind!r}; read are {', '.join(KINDS)}.")
    path = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
    if path is None:
        raise InputError(f"{folder}: holds neither {' nor '.join(WEIGHTS)}.")
    state = renamed(weights.read(path), str(path))
    try:
        net, classes, size = _built(kind, config, state)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise InputError(f"{folder / CONFIG}: does not describe a {kind}: {type(error).__name__}: {error}.") from error
    weights.fill(net, state, str(path))
    told = _json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    channels = int(config.get("num_channels", 3))
    mean, std = (tuple(told.get(key, [0.5] * channels)) for key in ("image_mean", "image_std"))
    return Described(net, classes, size, channels, mean, std)


def renamed(state: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """timm's names; queries, keys and values joined. Raises InputError for a name that is not known."""
    import torch

    found: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        plain = re.sub(r"^(vit|deit|dinov2)\.", "", name)
        if any(word in plain for word in UNUSED):
            continue
        block = re.fullmatch(r"(?:encoder\.layer|layers)\.(\d+)\.(.+)\.(weight|bias|lambda1)", plain)
        module, _, leaf = plain.rpartition(".")
        if plain in STEM:
            found[STEM[plain]] = tensor
        elif module in STEM:
            found[f"{STEM[module]}.{leaf}"] = tensor
        elif block and block[2] in BLOCK:
            timm_name, leaf = BLOCK[block[2]], "gamma" if block[3] == "lambda1" else block[3]
            if timm_name in ("q", "k", "v"):
                parts.setdefault(f"blocks.{block[1]}.attn.qkv.{leaf}", {})[timm_name] = tensor
            else:
                found[f"blocks.{block[1]}.{timm_name}.{leaf}"] = tensor
        else:
            raise InputError(f"{where}: {name} is not known of ViT, DeiT or DINOv2 (SwiGLU MLPs are not read).")
    for name, three in parts.items():
        if set(three) != set("qkv"):
            raise InputError(f"{where}: {name}: has {', '.join(sorted(three))}, expected q, k and v.")
        found[name] = torch.cat([three["q"], three["k"], three["v"]])
    return found


def _built(
    kind: str, config: dict[str, Any], state: dict[str, Tensor]
) -> tuple[VisionTransformer, tuple[str, ...], tuple[int, int]]:
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    from vhs.models.pooling import ClassAndMean

    dim, patch, image = config["hidden_size"], config["patch_size"], config["image_size"]
    labels = config.get("id2label") or {str(index): str(index) for index in range(config.get("num_labels", 2))}
    classes = tuple(str(labels[key]) for key in sorted(labels, key=int))
    if classes == tuple(f"LABEL_{index}" for index in range(len(classes))):
        classes = tuple(str(index) for index in range(len(classes)))
    hidden = config.get("intermediate_size") if kind != "dinov2" else dim * config.get("mlp_ratio", 4)
    more: dict[str, Any] = {"init_values": 1.0} if kind == "dinov2" else {}
    network: type[VisionTransformer] = ClassAndMean if kind == "dinov2" else VisionTransformer
    if "dist_token" in state and "head_dist.weight" in state:
        network = VisionTransformerDistilled
    elif "dist_token" in state:  # read by nobody, so a register
        state["reg_token"] = state.pop("dist_token")
        more["reg_tokens"] = 1
    net = network(
        img_size=image, patch_size=patch, in_chans=config.get("num_channels", 3), num_classes=len(classes),
        embed_dim=dim, depth=config["num_hidden_layers"], num_heads=config["num_attention_heads"],
        mlp_ratio=hidden / dim, qkv_bias=config.get("qkv_bias", True),
        norm_layer=partial(nn.LayerNorm, eps=float(config.get("layer_norm_eps", 1e-6))), **more,
    )  # fmt: skip
    size = (image, image) if isinstance(image, int) else (image[0], image[1])
    return net, classes, size


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. A folder that transformers wrote was expected.") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: is not a JSON object.")
    return data


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, PREPROCESSOR, *WEIGHTS]))
    except Exception as error:  # the hub raises many kinds
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"hf:{name}: is no folder here and cannot be fetched: {reason}.") from error
