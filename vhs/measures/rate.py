"""Images a second of a network, as it is: the best of a few short runs."""

from __future__ import annotations

import time

import torch
from torch import nn

from vhs.models.model import Model

RUNS, SECONDS = 5, 0.2


def images_per_second(model: Model, net: nn.Module, tile: int) -> float:
    """Of a network that sees what `model` sees, in tiles of so many images that are ready on the device."""
    size, device = model.preprocess, model.device
    pixels = torch.randn(tile, size.channels, size.height, size.width, device=device)
    with torch.inference_mode(), model.autocast():
        net(pixels)
        return max(tile / _seconds(net, pixels) for _ in range(RUNS))


def _seconds(net: nn.Module, pixels_BCHW: torch.Tensor) -> float:
    """Of one pass, the mean of as many as SECONDS hold."""
    _wait(pixels_BCHW.device)
    begun, passes = time.perf_counter(), 0
    while passes == 0 or time.perf_counter() - begun < SECONDS:
        net(pixels_BCHW)
        _wait(pixels_BCHW.device)
        passes += 1
    return (time.perf_counter() - begun) / passes


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
