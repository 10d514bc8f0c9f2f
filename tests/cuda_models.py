"""Models on the GPU that is not there, one a way of removing heads, and batches for them."""

from __future__ import annotations

from functools import cache

import timm
import torch
from torch import Tensor, nn

from tests.fake_cuda import DEVICE, moved
from vhs.batch import Batch
from vhs.models.building import build
from vhs.models.model import Model, Preprocess
from vhs.models.spec import ViTSpec

VIT = ViTSpec(
    depth=2, dim=12, heads=3, head_width=4, hidden=8, patch=14, height=42, width=28, channels=1, classes=5, layer_scale=True
)  # fmt: skip
EVA = {"img_size": 28, "depth": 2, "num_classes": 5}
SWIN = {"img_size": 56, "depths": (1, 1), "num_heads": (2, 3), "embed_dim": 12, "num_classes": 5}
ENGINES = ("fast", "replay", "hooks")


def images(count: int, *size: int) -> Tensor:
    """Black images on the device."""
    return torch.zeros(count, *size, dtype=torch.uint8, device=DEVICE)


def numbers(*size: int) -> Tensor:
    """Zeros on the device, as labels and sample numbers are."""
    return torch.zeros(*size, dtype=torch.int64, device=DEVICE)


def on_device(net: nn.Module, size: tuple[int, int, int], classes: int = 5) -> Model:
    """The network with its parameters on the device; where its heads are was found out before, with real tensors."""
    channels, height, width = size
    stats = Preprocess(height=height, width=width, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
    model = Model(net=net.eval(), preprocess=stats, classes=("x",) * classes, name="net", weights_id="")
    assert model.has_heads
    moved(net)
    assert model.device == DEVICE
    return model


def batch_of(model: Model, count: int = 8) -> Batch:
    """A batch of black images of the model's own size, with twins."""
    stats = model.preprocess
    shape = (stats.channels, stats.height, stats.width)
    return Batch(
        images(count, *shape), numbers(count), numbers(count), numbers(count), numbers(2, count), count,
        numbers(count), torch.zeros(count, 3, device=DEVICE), images(count, *shape),
    )  # fmt: skip


@cache
def model_of(engine: str) -> Model:
    """The model whose heads are removed in this way, made once."""
    if engine == "fast":
        return on_device(build(VIT), (1, 42, 28))
    if engine == "replay":
        return on_device(timm.create_model("eva02_tiny_patch14_224", **EVA), (3, 28, 28))
    return on_device(timm.create_model("swin_tiny_patch4_window7_224", **SWIN), (3, 56, 56))


def quick_field(blocks_BN: Tensor, _samples_BN: Tensor, _key: int, _stream: int) -> Tensor:
    """In the place of the generator, whose hundreds of operations would be most of what these tests do."""
    return blocks_BN.new_zeros(len(blocks_BN), 4 * blocks_BN.shape[1])
