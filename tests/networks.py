"""Small networks with random weights, models of them, and what these are given."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

from vhs.batch import Batch
from vhs.measures.fill_kinds import FILLS
from vhs.measures.fills import Bank, Filler
from vhs.models.building import build
from vhs.models.engine import Fill
from vhs.models.model import Model, Preprocess
from vhs.models.spec import ViTSpec

SIZES = {"depth": 3, "dim": 35, "heads": 7, "head_width": 5, "hidden": 53, "patch": 11, "height": 33, "width": 22,
         "channels": 1, "classes": 13}  # fmt: skip
SMALL = {"depth": 3, "dim": 24, "heads": 3, "head_width": 8, "hidden": 30, "patch": 11, "height": 33, "width": 22,
         "channels": 1, "classes": 7}  # fmt: skip
"""Of a ViT for tests of parts and of training."""
SPECS = {
    "class token": ViTSpec(**SIZES),
    "free head width": ViTSpec(**SIZES | {"head_width": 3}),
    "average pool": ViTSpec(**SIZES, pool="avg"),
    "registers": ViTSpec(**SIZES, registers=2),
    "ordinary head width": ViTSpec(**SIZES | {"head_width": 8}),
    "one layer": ViTSpec(**SIZES | {"depth": 1}),
}
TIMM = {
    "layer scale": {"init_values": 0.3},
    "qk norm": {"qk_norm": True},
    "norm before the projection": {"scale_attn_norm": True},
    "pre-norm, no class embedding": {"pre_norm": True, "no_embed_class": True},
    "no qkv bias": {"qkv_bias": False},
}
SWIN = {"img_size": 56, "depths": (1, 2), "num_heads": (3, 6), "embed_dim": 24}
MODELS = {
    "fast": lambda: model_of("class token"),
    "fast, average pool": lambda: model_of("average pool"),
    "fast, layer scale": lambda: model_of("layer scale"),
    "replay": lambda: other("eva02_tiny_patch14_224", {"img_size": 56, "depth": 3}, 56),
    "replay, beside an MLP": lambda: other("vit_dpwee_patch16_reg1_gap_256", {"img_size": 32, "depth": 2}, 32),
    "hooks, windows": lambda: other("swin_tiny_patch4_window7_224", SWIN, 56),
    "hooks, convolutions": lambda: other("test_coatnet", {}, 160),
}


def randomised(net: nn.Module) -> nn.Module:
    """The network with every parameter drawn anew, in place."""
    torch.manual_seed(3)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net.eval()


def networks() -> dict[str, nn.Module]:
    """Plain ViTs of one size, ours and timm's, by name."""
    found = {name: build(spec) for name, spec in SPECS.items()}
    plain = SPECS["class token"].timm_kwargs()
    found["distillation token"] = timm.models.deit.VisionTransformerDistilled(**{**plain, "class_token": True})
    return found | {name: timm.models.VisionTransformer(**plain, **extra) for name, extra in TIMM.items()}


def model_of(name: str) -> Model:
    """One of these with random weights, as a model."""
    spec: ViTSpec = SPECS["class token"]
    preprocess = Preprocess(height=33, width=22, channels=1, mean=(0.4,), std=(0.2,))
    return Model(
        net=randomised(networks()[name]), preprocess=preprocess, name=name, weights_id="", classes=("x",) * spec.classes
    )


def network(name: str, options: dict) -> nn.Module:
    """An architecture of timm's with random weights and 7 classes."""
    torch.manual_seed(3)
    net = timm.create_model(name, num_classes=7, **options).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.1)
    return net


def other(name: str, options: dict, side: int) -> Model:
    """Such a network as a model of square images."""
    stats = Preprocess(height=side, width=side, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Model(net=network(name, options), preprocess=stats, classes=tuple("abcdefg"), name=name, weights_id="")


def pixels_of(model: Model, count: int, seed: int) -> Tensor:
    """uint8 images of the model's own size."""
    generator = torch.Generator().manual_seed(seed)
    size = (count, model.preprocess.channels, model.preprocess.height, model.preprocess.width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)


def batch_for(model: Model, count: int, seed: int = 0) -> Batch:
    """Images of the model's own size, of the first 7 classes, each in a fold of its own."""
    numbers = torch.arange(count)
    images = pixels_of(model, count, seed)
    return Batch(
        images, numbers % 7, numbers * 7919 + 11, numbers % 20, torch.empty(0, count, dtype=torch.int64), count
    )


def filled(kinds: tuple[str, ...], model: Model, bank: Bank | None, images: Tensor, keys: Tensor) -> list[Fill]:
    """The fills of scored images with these hashes."""
    folds, groups = torch.zeros_like(keys), torch.empty(0, len(keys), dtype=torch.int64)
    batch = Batch(images, keys, keys, folds, groups, len(keys))
    return Filler(model, [FILLS[kind] for kind in kinds], bank).fills(batch)
