"""What a training run would take, from counted products and a moment's timing."""

from __future__ import annotations

import torch
from torch import nn

from vhs.formats.references import Loaded
from vhs.models import flops
from vhs.runs import plan, runtime

PASSES = 3
"""An update's products in those of a forward pass: forward, and backward for inputs and for weights."""


def in_words(net: nn.Module, shape: tuple[int, int, int], samples: int, *, teacher: Loaded | None, device: str) -> str:
    """FLOPs and about how long, for --dry-run, at the share of a large product's rate that runs reach.

    net: on any device, shape: [C, H, W] of its images; samples: of all updates; teacher: passes forward only.
    """
    images = torch.zeros(1, *shape, device=next(net.parameters()).device)
    total = float(PASSES * flops.forward(net.eval(), images) * samples)
    if teacher is not None:
        total += samples * flops.forward(teacher.model.net, teacher.model.noise())
    place = runtime.prepare(device, None, "float32")
    rate = runtime.product_rate(place, "bf16" if place.type == "cuda" else "float32")
    seconds = total / 2 / (rate * plan.REACHED)
    return f"FLOPs    {total:.2e}\ntime     about {plan.duration(seconds)} on {place}, reading and augmentation apart\n"
