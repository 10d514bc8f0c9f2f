"""A network with half of its heads beside the whole one, alternating. `python -m tests.bench.pruning [--device cuda]`.

12 layers of 6 heads at 224 px (DeiT-S), random weights: three heads a layer go; six layers lose all; every other head of
random places. Fused attention and plain; beside each ratio what the FLOPs predict, and the size of the file.
"""

from __future__ import annotations

import random
import sys
from functools import partial

import torch
from torch import nn

from tests.bench.timing import alternate, machine, say
from vhs.formats import checkpoints
from vhs.formats.checkpoints import CheckpointInfo
from vhs.models import flops, surgery
from vhs.models.building import build, spec_of_fewer
from vhs.models.spec import ViTSpec
from vhs.runs.runtime import keep_freed_memory

LAYERS, HEADS = 12, 6
SPEC = ViTSpec(
    depth=LAYERS, dim=384, heads=HEADS, head_width=64, hidden=1536, patch=16, height=224, width=224, channels=3,
    classes=1000,
)  # fmt: skip
BATCH = {"cpu": 8, "cuda": 256}


def layouts() -> dict[str, list[list[int]]]:
    """Name -> heads that stay, by layer; half of all each time."""
    kept = random.Random(0).sample(
        [(layer, head) for layer in range(LAYERS) for head in range(HEADS)], LAYERS * HEADS // 2
    )
    return {
        "three heads of every layer": [[0, 1, 2]] * LAYERS,
        "all heads of six layers": [list(range(HEADS)) if layer % 2 else [] for layer in range(LAYERS)],
        "half of all, at random": [sorted(head for at, head in kept if at == layer) for layer in range(LAYERS)],
    }


def main() -> None:
    device = torch.device("cuda" if "--device" in sys.argv and "cuda" in sys.argv else "cpu")
    keep_freed_memory()
    say(machine())
    whole = build(SPEC).to(device).eval().requires_grad_(False)
    pixels = torch.randn(BATCH[device.type], 3, 224, 224, device=device)
    full, size = flops.forward(whole, pixels), file_size(whole)
    rounds = 20 if device.type == "cuda" else 5
    sync = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    say(f"{'':<30} {'attention':<10} {'whole':>9} {'half':>9} {'ratio':>6} {'by FLOPs':>9}   file")
    for name, kept in layouts().items():
        fewer = surgery.copy_sharing_weights(whole)
        surgery.keep(fewer, kept)
        predicted = full / flops.forward(fewer, pixels)
        for fused in (True, False):
            use(fused, whole, fewer)
            with torch.inference_mode():
                ours, other, ratio = alternate(partial(fewer, pixels), partial(whole, pixels), rounds=rounds, sync=sync)
            rates = [len(pixels) / seconds for seconds in (other, ours)]
            say(f"{name:<30} {'fused' if fused else 'plain':<10} {rates[0]:>7.1f}/s {rates[1]:>7.1f}/s {ratio:>6.2f} "
                f"{predicted:>9.2f}   {file_size(fewer) / size:.2f} of {size / 2**20:.0f} MiB")  # fmt: skip


def use(fused: bool, *nets: nn.Module) -> None:
    """Whether attention is one call or three."""
    for net in nets:
        for module in surgery.attentions(net).values():
            module.fused_attn = fused


def file_size(net: nn.Module) -> int:
    """Bytes of its checkpoint."""
    info = CheckpointInfo(
        spec=spec_of_fewer(SPEC, net), classes=tuple(map(str, range(1000))), mean=(0.5,) * 3, std=(0.5,) * 3
    )
    return len(checkpoints.to_bytes(net.state_dict(), info))


if __name__ == "__main__":
    main()
