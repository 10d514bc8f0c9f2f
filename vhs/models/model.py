"""A network with what it takes to feed it: image size, channels, pixel statistics, classes, heads.

Letters: B images, C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import cast

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vhs.errors import MismatchError
from vhs.grid import HeadGrid
from vhs.models import seam
from vhs.models.engine import Engine, Fast, engine_of
from vhs.models.prefix import EAGER, Kernels
from vhs.models.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """What a network expects of its input: pixels for the sides, statistics on the scale 0 to 1.

    crop_share, interpolation, squash, floored: of its published transform: the crop's share of the resized side, how
    that is made, whether both sides are resized, whatever the image's shape, instead of the shorter one, and whether a
    crop half a pixel off the middle begins before it, as in transformers, or at the even pixel, as in torchvision.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_share: float = 0.875
    interpolation: str = "bilinear"
    squash: bool = False
    floored: bool = False

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """uint8 at the data's geometry -> float32 at the model's: channels, resize, mean and std."""
        return self._standardise(_match_channels(images_BCHW, self.channels).float())

    def of_pixels(self, pixels_BCHW: Tensor, made_by: Preprocess) -> Tensor:
        """Pixels that another network takes -> those of this one: the same images, augmented and mixed as they are."""
        if self == made_by:
            return pixels_BCHW
        shift, scale = (_levels(values, pixels_BCHW.device) for values in (made_by.mean, made_by.std))
        return self._standardise(_match_channels(pixels_BCHW * scale + shift, self.channels))

    def _standardise(self, levels_BCHW: Tensor) -> Tensor:
        size = (self.height, self.width)
        if tuple(levels_BCHW.shape[-2:]) != size:
            levels_BCHW = F.interpolate(levels_BCHW, size=size, mode="bilinear", antialias=True, align_corners=False)
        shift, scale = (_levels(values, levels_BCHW.device) for values in (self.mean, self.std))
        return (levels_BCHW - shift) / scale


@cache
def _levels(shares: tuple[float, ...], device: torch.device) -> Tensor:
    """[1, C, 1, 1] on the scale 0 to 255; kept on the device, so that no batch waits for the host."""
    return torch.tensor(shares, device=device).view(1, -1, 1, 1) * 255


def _match_channels(images_BCHW: Tensor, channels: int) -> Tensor:
    """Replicate grey to RGB, or reduce RGB to luminance."""
    if images_BCHW.shape[1] == channels:
        return images_BCHW
    if channels == 3:
        return images_BCHW.expand(-1, 3, -1, -1)
    if images_BCHW.is_floating_point():
        red, green, blue = images_BCHW.split(1, 1)
        return 0.299 * red + 0.587 * green + 0.114 * blue
    from vhs.shifts.corruption import luminance

    return luminance(images_BCHW)


@dataclass(frozen=True, kw_only=True, repr=False)
class Model:
    """A network in eval mode on its device. `name` and `weights_id` are what tables call it; spec: what it is built
    from, of a checkpoint or a timm reference."""

    net: nn.Module
    preprocess: Preprocess
    classes: tuple[str, ...]
    name: str
    weights_id: str
    step: int | None = None
    seed: int | None = None
    precision: str = "float32"
    kernels: Kernels = EAGER
    spec: Spec | None = None

    def __repr__(self) -> str:
        """One line; heads are named where that costs nothing."""
        known = self.plain is not None or "engine" in vars(self)
        heads = f"heads by layer {self.grid.in_words()}" if known and self.has_heads else type(self.net).__name__
        size = f"{self.preprocess.height}x{self.preprocess.width}x{self.preprocess.channels}"
        return f"<vhs model {self.name}: {heads}, images {size}, {len(self.classes)} outputs, on {self.device}>"

    @cached_property
    def engine(self) -> Engine:
        """How its ablated variants are computed. Raises MismatchError where its heads cannot be reached."""
        preprocess = self.preprocess
        found = engine_of(self.net, (preprocess.channels, preprocess.height, preprocess.width))
        return replace(found, kernels=self.kernels) if isinstance(found, Fast) else found

    @property
    def grid(self) -> HeadGrid:
        return self.engine.grid

    @property
    def plain(self) -> VisionTransformer | None:
        """The network as timm's plain VisionTransformer; None when it is another, with or without heads."""
        return cast(VisionTransformer, self.net) if seam.refusal(self.net) is None else None

    @cached_property
    def has_heads(self) -> bool:
        """Whether its heads can be reached; accuracy can be measured of any network."""
        try:
            return len(self.engine.grid) > 0
        except MismatchError:
            return False

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def noise(self) -> Tensor:
        """[2, C, H, W]: two preprocessed images of noise on the host, always the same, to see what a network does."""
        size, fixed = self.preprocess, torch.Generator().manual_seed(0)
        return torch.randn(2, size.channels, size.height, size.width, generator=fixed)

    def autocast(self) -> torch.autocast:
        """Lower precision where asked for; weights stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
