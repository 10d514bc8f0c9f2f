"""Hugging Face folders (config.json, model.safetensors) as timm networks: ViT, DeiT and DINOv2 classifiers.

The names are those of transformers' modeling_vit.py, modeling_deit.py and modeling_dinov2.py, as saved to disk.
"""

from __future__ import annotations

import re
from functools import partial
from os.path import isdir
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vhs.errors import InputError
from vhs.formats import hf_config, hf_preprocessor, hub, weights
from vhs.formats.hf_config import Config
from vhs.formats.keys import Keys

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer
    from torch import Tensor

    from vhs.models.model import Preprocess

HF = "hf:"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
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
    """A network with what its folder says: classes, and how its images are made."""

    net: VisionTransformer
    classes: tuple[str, ...]
    preprocess: Preprocess


def load(name: str) -> Described:
    """The classifier in a folder, or of a hub name. Raises InputError naming what is missing or not supported."""
    folder = Path(name) if isdir(name) else hub.folder(name, (CONFIG, PREPROCESSOR), WEIGHTS)
    config = hf_config.read(Keys.read(folder / CONFIG))
    if not (folder / PREPROCESSOR).is_file():
        raise InputError(
            f"{folder}: holds no {PREPROCESSOR}, which says how pixels are scaled. Save the image processor beside the "
            f"model, with its save_pretrained()."
        )
    preprocess = hf_preprocessor.read(Keys.read(folder / PREPROCESSOR), config)
    path = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
    if path is None:
        raise InputError(f"{folder}: holds neither {' nor '.join(WEIGHTS)}.")
    state = timm_names(weights.read(path), str(path))
    _check_depth(config, state, folder)
    size = (preprocess.height, preprocess.width)
    if config.kind == "dinov2" and size != config.image:
        _resample(state, config, size)
    net = _build(config, size, state)
    weights.fill(net, state, str(path))
    return Described(net, config.classes, preprocess)


def timm_names(state: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    """timm's names; queries, keys and values joined. Raises InputError for a name that is not known."""
    import torch

    found: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        own = _own_name(re.sub(r"^(vit|deit|dinov2)\.", "", name))
        if own is None:
            raise InputError(f"{where}: {name} is not known of ViT, DeiT or DINOv2 (SwiGLU MLPs are not read).")
        if not own:
            continue
        if own in origin:
            raise InputError(f"{where}: {origin[own]} and {name} are the same part of the network.")
        origin[own] = name
        joined = re.fullmatch(r"(blocks\.\d+)\.([qkv])\.(.+)", own)
        if joined:
            parts.setdefault(f"{joined[1]}.attn.qkv.{joined[3]}", {})[joined[2]] = tensor
        else:
            found[own] = tensor
    for name, three in parts.items():
        if set(three) != set("qkv"):
            raise InputError(f"{where}: {name}: has {', '.join(sorted(three))}, expected q, k and v.")
        if len({part.shape for part in three.values()}) > 1 or not three["q"].dim():
            raise InputError(f"{where}: {name}: its q, k and v are not of one shape.")
        found[name] = torch.cat([three["q"], three["k"], three["v"]])
    return found


def _own_name(plain: str) -> str | None:
    """timm's name of a tensor, queries, keys and values still apart; empty for what is not used, None if not known."""
    if any(word in plain for word in UNUSED):
        return ""
    block = re.fullmatch(r"(?:encoder\.layer|layers)\.(\d{1,5})\.(.+)\.(weight|bias|lambda1)", plain, re.ASCII)
    module, _, leaf = plain.rpartition(".")
    if plain in STEM:
        return STEM[plain]
    if module in STEM:
        return f"{STEM[module]}.{leaf}"
    if block and block[2] in BLOCK:
        return f"blocks.{int(block[1])}.{BLOCK[block[2]]}.{'gamma' if block[3] == 'lambda1' else block[3]}"
    return None


def _build(config: Config, size: tuple[int, int], state: dict[str, Tensor]) -> VisionTransformer:
    """The network without weights, on the meta device, so that nothing is allocated before shapes are compared."""
    import torch
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    from vhs.models.pooling import ClassAndMean
    from vhs.models.seam import attention_of_width

    dinov2, dim = config.kind == "dinov2", config.dim
    more: dict[str, Any] = {"init_values": 1.0} if dinov2 else {}
    network: type[VisionTransformer] = ClassAndMean if dinov2 else VisionTransformer
    if "dist_token" in state and "head_dist.weight" in state:
        network = VisionTransformerDistilled
    elif "dist_token" in state:  # read by nobody, so a register
        state["reg_token"] = state.pop("dist_token")
        more["reg_tokens"] = 1
    if config.heads * config.head_width != dim:
        more["attn_layer"] = attention_of_width(config.head_width)
    with torch.device("meta"):
        return network(
            img_size=size, patch_size=config.patch, in_chans=config.channels, num_classes=len(config.classes),
            embed_dim=dim, depth=config.depth, num_heads=config.heads, mlp_ratio=(config.hidden + 0.5) / dim,
            qkv_bias=config.qkv_bias, norm_layer=partial(nn.LayerNorm, eps=config.eps),
            act_layer=hf_config.activation(config.activation), **more,
        )  # fmt: skip


def _check_depth(config: Config, state: dict[str, Tensor], folder: Path) -> None:
    """Raises InputError where config.json tells of other blocks than the weights hold, or of another kind."""
    blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    if len(blocks) != config.depth:
        raise InputError(f"{folder / CONFIG}: num_hidden_layers is {config.depth}; the weights are of {len(blocks)}.")
    if "dist_token" in state and config.kind != "deit":
        raise InputError(f"{folder / CONFIG}: model_type is {config.kind}; the weights have a distillation token.")


def _resample(state: dict[str, Tensor], config: Config, size: tuple[int, int]) -> None:
    """Positions for images of `size`, made as Dinov2Embeddings.interpolate_pos_encoding makes them."""
    import torch
    import torch.nn.functional as F

    places = state.get("pos_embed")
    if places is None or tuple(places.shape) != (1, 1 + config.grid[0] * config.grid[1], config.dim):
        return  # told when the weights are filled in
    own = places[:, 1:].float().unflatten(1, config.grid).permute(0, 3, 1, 2)
    grid = (size[0] // config.patch[0], size[1] // config.patch[1])
    made = F.interpolate(own, size=grid, mode="bicubic", align_corners=False)
    state["pos_embed"] = torch.cat([places[:, :1].float(), made.flatten(2).transpose(1, 2)], dim=1)
