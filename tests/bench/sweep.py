"""The sweep against the naive hook loop: same precision, data in memory. `python -m tests.bench.sweep [--device cuda]`.

Part 3 completes this benchmark (FLOP floor, compile, bf16); here is the plain ratio.
"""

from __future__ import annotations

import sys

import torch

from tests.bench.timing import alternate, machine, say
from tests.naive import ablated_logits
from vhs.batch import Batch
from vhs.measures.ablation import HeadAblation
from vhs.measures.scoring import Scope
from vhs.models.model import Model, Preprocess, build
from vhs.models.spec import ViTSpec
from vhs.runs import runtime

DEMO = {"patch": 7, "height": 28, "width": 28, "channels": 1, "classes": 10}
IMAGENET = {"patch": 16, "height": 224, "width": 224, "channels": 3, "classes": 1000}
MODELS = {
    "demo (6 x 4)": (ViTSpec(depth=6, dim=64, heads=4, head_width=16, hidden=128, **DEMO), 500, 2.49),
    "8 x 6, 224 px": (ViTSpec(depth=8, dim=192, heads=6, head_width=32, hidden=768, **IMAGENET), 16, 2.48),
    "12 x 3, 224 px": (ViTSpec(depth=12, dim=192, heads=3, head_width=64, hidden=768, **IMAGENET), 16, 2.26),
}
"""name -> (architecture, images timed, ratio that the counted multiplications allow)."""


def compare(name: str, device: torch.device, rounds: int) -> None:
    spec, images, allowed = MODELS[name]
    torch.manual_seed(0)
    stats = (0.5,) * spec.channels
    preprocess = Preprocess(height=spec.height, width=spec.width, channels=spec.channels, mean=stats, std=stats)
    net = build(spec).to(device).eval()
    model = Model(net=net, preprocess=preprocess, classes=(), name=name, weights_id="")
    tile, group = runtime.fit([model], images if device.type == "cpu" else 4096, None)
    pixels = torch.randint(0, 256, (tile, spec.channels, spec.height, spec.width), dtype=torch.uint8, device=device)
    zeros = torch.zeros(tile, dtype=torch.int64, device=device)
    batch = Batch(pixels, zeros, zeros, zeros, zeros.new_empty(0, tile), tile)
    sync = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    tally = HeadAblation(model, Scope.whole(spec.classes, device), group)
    ours, naive, ratio = alternate(
        lambda: tally.add(batch), lambda: (net(preprocess(pixels)), ablated_logits(net, preprocess(pixels))),
        rounds=rounds, sync=sync,
    )  # fmt: skip
    rate = tile * len(model.grid) / ours
    say(
        f"{name:<16} tile {tile:>4} x {group}  ours {ours * 1e3:9.1f} ms  naive {naive * 1e3:9.1f} ms  "
        f"ratio {ratio:5.2f} (counted {allowed:.2f})  {rate:,.0f} ablated images/s"
    )


def main() -> None:
    device = runtime.prepare("cuda" if "cuda" in sys.argv else "cpu", None, "float32")
    say(machine())
    with torch.inference_mode():
        for name in MODELS:
            compare(name, device, rounds=5)


if __name__ == "__main__":
    main()
