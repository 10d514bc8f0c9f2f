"""Our whole training loop against the bare model step, alternating. `python -m tests.bench.training [--device cuda]`.

The bare step: forward, backward and AdamW on one batch that lies ready, normalised, in memory. On a CPU the demo model on the
embedded images; on a GPU DeiT-Tiny at 224 px in bf16 with mixup, cutmix, erasing, drop path and the weight average, beside
the rate that timm publishes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F

from tests.bench.timing import alternate, machine, say
from tests.trainings import plain
from vhs.models.building import build
from vhs.models.model import Preprocess
from vhs.models.spec import ViTSpec
from vhs.runs.runtime import keep_freed_memory
from vhs.training import feed, loop, optimization
from vhs.training.recipe import Recipe, preset

TIMM_RATE = "2,290 images/s: deit_tiny, AMP, RTX 3090 (timm's table of training benchmarks)"
KEPT = {"randaug": "", "resized_crop": False}
"""What is augmented one by one in workers is left out of the device's measure."""


def compare(name: str, recipe: Recipe, spec: ViTSpec, device: torch.device, *, compiled: bool, steps: int) -> None:
    """Print one line: ours, the bare step, and the share of its rate that ours reaches."""
    images = torch.randint(0, 256, (4 * recipe.batch, spec.channels, spec.height, spec.width), dtype=torch.uint8)
    labels = torch.arange(len(images)) % spec.classes
    samples = feed.Samples(labels.to(device), torch.arange(len(images)).to(device))
    preprocess = Preprocess(
        height=spec.height, width=spec.width, channels=spec.channels, mean=(0.5,) * spec.channels,
        std=(0.25,) * spec.channels,
    )  # fmt: skip
    recipe = recipe.with_values({"epochs": 10**6}, "bench")
    state = loop.start(recipe, spec, len(images), device, compiled=compiled)
    updates = loop.updates(
        state, recipe, feed.Resident(recipe, samples, images.to(device)), preprocess, plain(recipe, spec.classes)
    )
    ours, bare = (
        _several(lambda: next(updates), steps),
        _several(bare_step(recipe, spec, device, compiled=compiled), steps),
    )
    sync = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    a, b, ratio = alternate(ours, bare, rounds=7, sync=sync)
    count = steps * recipe.batch
    say(
        f"{name:<28}{'compiled' if compiled else 'eager':<10}{count / a:>9,.0f} images/s{count / b:>9,.0f} bare"
        f"{ratio:>7.2f} of bare"
    )


def bare_step(recipe: Recipe, spec: ViTSpec, device: torch.device, *, compiled: bool) -> Callable[[], object]:
    """One update on a batch that lies ready."""
    net = build(spec).to(device).train()
    run = torch.compile(net) if compiled else net
    optimizer = optimization.optimizer(net, recipe, device)
    pixels = torch.randn(recipe.batch, spec.channels, spec.height, spec.width, device=device)
    labels = torch.arange(recipe.batch, device=device) % spec.classes

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=loop.uses_bf16(recipe, device)):
            loss = F.cross_entropy(run(pixels).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _several(step: Callable[[], object], count: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            step()

    return run


def main(arguments: list[str]) -> None:
    device = torch.device(arguments[arguments.index("--device") + 1] if "--device" in arguments else "cpu")
    keep_freed_memory()
    say(machine())
    if device.type == "cpu":
        spec = Recipe().spec(channels=1, height=28, width=28, classes=10)
        compare("demo", Recipe(), spec, device, compiled=False, steps=20)
        augmented = Recipe(crop=True, flip=True, mixup=0.8, ema=0.99, drop_path=0.1, label_smoothing=0.1)
        compare("demo, augmented, averaged", augmented, spec, device, compiled=False, steps=20)
        return
    recipe = preset("deit").with_values(KEPT | {"batch": 512}, "bench")
    spec = recipe.spec(channels=3, height=224, width=224, classes=1000)
    for compiled in (False, True):
        compare("deit, bf16, batch 512", recipe, spec, device, compiled=compiled, steps=5)
    say(f"published: {TIMM_RATE}")


if __name__ == "__main__":
    main(sys.argv[1:])
