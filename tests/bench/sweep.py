"""The sweep against the naive hook loop, data in memory, alternating. `python -m tests.bench.sweep [--device cuda]`.

The naive loop runs timm's own forward once intact and once a head. "counted" is the ratio of the
multiplications counted for both, and, in brackets, for ours with the sham it carries; "floor" the share of the
time that those of ours would take at the machine's own rate for large matrix products.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from dataclasses import replace

import torch

from tests.bench.timing import alternate, machine, say
from tests.naive import ablated_logits
from vhs.batch import Batch
from vhs.measures.ablation import HeadAblation
from vhs.measures.ablation_options import parse
from vhs.measures.fills import Bank
from vhs.measures.scoring import Scope
from vhs.measures.steadiness import settle
from vhs.models import flops, prefix
from vhs.models.building import build
from vhs.models.model import Model, Preprocess
from vhs.models.spec import ViTSpec
from vhs.runs import runtime

DEMO = {"patch": 7, "height": 28, "width": 28, "channels": 1, "classes": 10}
IMAGENET = {"patch": 16, "height": 224, "width": 224, "channels": 3, "classes": 1000}
MODELS = {
    "demo (6 x 4)": ViTSpec(depth=6, dim=64, heads=4, head_width=16, hidden=128, **DEMO),
    "8 x 6, 224 px": ViTSpec(depth=8, dim=192, heads=6, head_width=32, hidden=768, **IMAGENET),
    "12 x 3, 224 px": ViTSpec(depth=12, dim=192, heads=3, head_width=64, hidden=768, **IMAGENET),
}
MODES = {"cpu": (("float32", False),), "cuda": (("float32", False), ("tf32", False), ("bf16", True))}
"""Precision and --compile, by device."""
IMAGENET_C = 50_000 * 76
CPU_IMAGES = 16
GPU_IMAGES = 1024


def compare(name: str, device: torch.device, precision: str, *, compiled: bool, tile: int | None = None) -> None:
    """Print one line: ours at the fitted tile, or at `tile`, against the naive loop in float32."""
    model = model_of(name, device, precision)
    images = 500 if "demo" in name else CPU_IMAGES
    tile, group = runtime.fit([model], images if device.type == "cpu" else GPU_IMAGES, tile)
    spec = MODELS[name]
    pixels = torch.randint(0, 256, (tile, spec.channels, spec.height, spec.width), dtype=torch.uint8, device=device)
    zeros = torch.zeros(tile, dtype=torch.int64, device=device)
    batch = Batch(pixels, zeros, zeros, zeros, zeros.new_empty(0, tile), tile)
    naive = naive_loop(name, device, pixels, precision="float32")
    if compiled:
        model = replace(model, kernels=prefix.compile_kernels())
    settle(model, pixels, group)
    tally = HeadAblation(model, Scope.whole(spec.classes, device), group)
    sync = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    ours, other, ratio = alternate(lambda: tally.add(batch), naive, rounds=3 if device.type == "cuda" else 5, sync=sync)
    cost = flops.costs(model.net)
    line = (
        f"{name:<15} {precision + (' compiled' if compiled else ''):<13} tile {tile:>4} x {group}  ours {ours * 1e3:8.1f} ms  "
        f"naive {other * 1e3:8.1f} ms  ratio {ratio:5.2f} (counted {cost.naive / cost.heads_only:.2f}, "
        f"{cost.naive / cost.sweep:.2f})"
    )
    if device.type == "cpu":
        say(f"{line}  floor {100 * tile * cost.sweep / product_rate() / ours:.0f} %  peak {peak_memory():.0f} MiB")
        return
    bf16 = alternate(lambda: tally.add(batch), naive_loop(name, device, pixels, precision="bf16"), rounds=3, sync=sync)
    say(
        f"{line}  against naive bf16 {bf16[2]:5.2f}  {tile * cost.heads / ours:,.0f} images x variants/s  "
        f"ImageNet-C {IMAGENET_C / tile * ours / 3600:.2f} h  peak {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB"
    )


def several_fills() -> None:
    """Four fills in one pass against four runs, demo model."""
    name, device = "demo (6 x 4)", torch.device("cpu")
    model = model_of(name, device, "float32")
    tile, group = runtime.fit([model], 500, None)
    pixels = torch.randint(0, 256, (tile, 1, 28, 28), dtype=torch.uint8)
    zeros = torch.zeros(tile, dtype=torch.int64)
    batch = Batch(pixels, zeros, zeros, zeros, zeros.new_empty(0, tile), tile)
    bank, scope = Bank(model, [pixels]), Scope.whole(10, device)
    kinds = ("zero", "mean", "mean-flat", "resample")
    together = HeadAblation(model, scope, group, parse(fill=kinds), bank=bank)
    apart = [HeadAblation(model, scope, group, parse(fill=kind), bank=bank) for kind in kinds]
    ours, other, ratio = alternate(lambda: together.add(batch), lambda: [one.add(batch) for one in apart], rounds=5)
    say(f"{'four fills':<15} one pass {ours * 1e3:8.1f} ms  four {other * 1e3:8.1f} ms  ratio {ratio:5.2f}")


def model_of(name: str, device: torch.device, precision: str) -> Model:
    spec = MODELS[name]
    torch.manual_seed(0)
    stats = (0.5,) * spec.channels
    preprocess = Preprocess(height=spec.height, width=spec.width, channels=spec.channels, mean=stats, std=stats)
    net = build(spec).to(device).eval().requires_grad_(False)
    return Model(net=net, preprocess=preprocess, classes=(), name=name, weights_id="", precision=precision)


def naive_loop(name: str, device: torch.device, pixels: torch.Tensor, *, precision: str) -> Callable[[], object]:
    """The intact pass and one of timm's own forwards a head, eager."""
    model = model_of(name, device, precision)

    def loop() -> None:
        runtime.set_precision("float32")
        with torch.inference_mode(), model.autocast():
            prepared = model.preprocess(pixels)
            model.net(prepared)
            ablated_logits(model.net, prepared)

    return loop


def product_rate() -> float:
    """Multiply-adds a second of a 1024 x 1024 float32 product here."""
    a = torch.randn(1024, 1024)
    seconds, again, _ = alternate(lambda: a @ a, lambda: a @ a, rounds=15)
    return 1024**3 / min(seconds, again)


def peak_memory() -> float:
    """MiB this process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    device = runtime.prepare("cuda" if "cuda" in sys.argv else "cpu", None, "float32")
    say(machine())
    for name in MODELS:
        for precision, compiled in MODES[device.type]:
            runtime.set_precision(precision)
            compare(name, device, precision, compiled=compiled)
    if device.type == "cpu":
        for tile in (16, 64, 1024):
            compare("demo (6 x 4)", device, "float32", compiled=False, tile=tile)
        several_fills()


if __name__ == "__main__":
    main()
