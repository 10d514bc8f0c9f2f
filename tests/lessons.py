"""Students and teachers with random weights, and what is minimised of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.networks import randomised
from vhs.fitting import teaching
from vhs.formats.references import Loaded
from vhs.models.building import build
from vhs.models.model import Model, Preprocess
from vhs.models.spec import Spec, ViTSpec
from vhs.models.taps import Tapped
from vhs.training.objective import Objective, Part, Terms
from vhs.training.recipe import Recipe

OUTPUTS = tuple("abcde")
SIZES = Recipe(depth=3, dim=14, heads=2, head_width=5, patch=7)
STUDENT = SIZES.spec(channels=1, height=42, width=28, classes=5)


def preprocess_of(spec: Spec, *, mean: float = 0.4, std: float = 0.3) -> Preprocess:
    """Of its sizes."""
    return Preprocess(height=spec.height, width=spec.width, channels=spec.channels, mean=(mean,) * spec.channels,
                      std=(std,) * spec.channels)  # fmt: skip


def teacher_of(net: nn.Module, spec: Spec, classes: tuple[str, ...] = OUTPUTS, **statistics: float) -> Loaded:
    """A network as a teacher."""
    return Loaded(Model(
        net=net.eval().requires_grad_(False), preprocess=preprocess_of(spec, **statistics), name="teacher",
        weights_id="0" * 12, classes=classes, spec=spec,
    ))  # fmt: skip


def drawn(spec: ViTSpec) -> nn.Module:
    """A ViT of these sizes with random weights."""
    return randomised(build(spec))


def lesson(teacher: Loaded | None = None, spec: Spec = STUDENT, **keys: object) -> teaching.Lesson:
    """What is to be learned from a teacher. keys: of the recipe."""
    images = torch.randint(0, 256, (6, spec.channels, spec.height, spec.width), dtype=torch.uint8)
    return teaching.Lesson(
        recipe=SIZES.with_values(keys, "test"), spec=spec, outputs=OUTPUTS, preprocess=preprocess_of(spec),
        device=torch.device("cpu"), calibration=lambda: images, teacher=teacher,
    )  # fmt: skip


def pixels_of(spec: Spec = STUDENT, count: int = 6) -> Tensor:
    """Preprocessed images of noise."""
    return torch.randn(count, spec.channels, spec.height, spec.width)


def terms_of(objective: Objective, net: nn.Module, pixels: Tensor) -> Terms:
    """Every term of a network on these pixels, with labels 0, 1, …"""
    count = len(pixels)
    logits, seen = Tapped(net, objective.taps, tuple(pixels.shape[1:]))(pixels)
    part = Part(pixels, torch.arange(count) % len(OUTPUTS), torch.arange(count), count, 0)
    return objective.terms(net, logits, seen, part)
