"""What a run would take, from counted multiplications and a moment's timing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vhs.models import flops
from vhs.models.model import Model
from vhs.runs import runtime
from vhs.runs.run import Run

REACHED = 0.6
"""Share of the matrix-product rate that runs have reached (docs/benchmarks.md): .38 to .77 on two cores."""
LIVE = 6
"""Activations of the widest layer that are alive at once, counted generously."""
ALPHA = 0.05


@dataclass(frozen=True)
class Cost:
    """Passes and FLOPs of one model over all conditions; share: of those of whole passes; seconds on this machine.

    flips: fewest answers lost, with none gained, that are called at q < 0.05 if no other head is; detectable: that
    over the samples.
    """

    intact: int
    ablated: int
    flops: float
    share: float
    seconds: float
    heads: int
    flips: int
    detectable: float

    @property
    def duration(self) -> str:
        return duration(self.seconds)


def duration(seconds: float) -> str:
    """In words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def cost_of(run: Run, model: Model, *, ablating: bool) -> Cost | None:
    """Counted for all samples of all conditions; the time at REACHED of the rate of a large product here.

    None for networks other than timm's plain ViT, whose products are not counted.
    """
    if model.plain is None:
        return None
    cost = flops.costs(model.plain)
    units = list(model.grid.units(run.ablation.units))
    heads = len(units) - 1 if ablating else 1
    passes = run.data.total * len(run.conditions)
    swept = cost.without(units)
    products = passes * (len(run.ablation.fills) * swept if ablating else cost.forward)
    flips = fewest_flips(heads)
    return Cost(
        intact=passes, ablated=passes * (heads + 1), flops=2.0 * products, share=swept / (len(units) * cost.forward),
        seconds=products / (runtime.product_rate(model.device, model.precision) * REACHED), heads=heads, flips=flips,
        detectable=flips / run.data.total,
    )  # fmt: skip


def fewest_flips(heads: int) -> int:
    """Smallest k for which k answers lost and none gained have an exact McNemar p of at most ALPHA / heads."""
    return math.ceil(1 + math.log2(heads / ALPHA))


def memory(run: Run) -> tuple[float, float]:
    """(decoded images, activations of one tile and its variants), MiB."""
    images = run.data.images_NCHW.numel()
    widest = max((runtime.row_bytes(model.plain) for model in run.models if model.plain is not None), default=0)
    return images / 2**20, run.tile * run.stack * widest * LIVE / 2**20


def in_words(run: Run, *, ablating: bool) -> str:
    """What a run would do, for --dry-run: passes, FLOPs, memory, about how long, and what it could detect."""
    data = run.data.manifest
    lines = [
        f"data        {data.name}/{data.split}, {run.data.total} samples, {run.data.geometry}",
        f"conditions  {len(run.conditions)}: {', '.join(item.name for item in run.conditions[:4])}"
        + (", …" if len(run.conditions) > 4 else ""),
    ]
    for model in run.models:
        cost = cost_of(run, model, ablating=ablating)
        heads = f"{model.grid.depth} layers, {len(model.grid)} heads" if ablating or model.has_heads else "no heads"
        lines.append(f"model       {model.name}: {heads}")
        if cost is None:
            lines.append("FLOPs       not counted for this architecture")
            continue
        lines.append(f"passes      {cost.intact:,} intact" + (f", {cost.ablated:,} from a head on" if ablating else ""))
        lines.append(f"FLOPs       {cost.flops:.2e} ({cost.share:.0%} of whole passes for every head)" if ablating else
                     f"FLOPs       {cost.flops:.2e}")  # fmt: skip
        lines.append(f"time        about {cost.duration}, reading and corruptions apart")
        if ablating:
            lines.append(
                f"detects     a drop of {cost.detectable:.2%} or more ({cost.flips} answers lost, none gained, "
                f"{cost.heads} heads at q < 0.05)"
            )
    held, stack = memory(run)
    lines.append(f"memory      about {held:,.0f} MiB of images and {stack:,.0f} MiB a tile")
    return "\n".join([*lines, f"tile        {run.tile} samples, {run.stack} variants at once, {run.device}"]) + "\n"
