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
class Estimate:
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
        """In words: 40 s, 12 min, 3.5 h."""
        if self.seconds < 90:
            return f"{max(self.seconds, 1):.0f} s"
        return f"{self.seconds / 60:.0f} min" if self.seconds < 5400 else f"{self.seconds / 3600:.1f} h"


def estimate(run: Run, model: Model, *, ablating: bool) -> Estimate | None:
    """Counted for all samples of all conditions; the time at REACHED of the rate of a large product here.

    None for networks other than timm's plain ViT, whose products are not counted.
    """
    if model.plain is None:
        return None
    cost = flops.costs(model.plain)
    units = list(model.grid.units(run.unit))
    heads = len(units) - 1 if ablating else 1
    passes = run.data.total * len(run.conditions)
    swept = cost.without(units)
    products = passes * (len(run.fills) * swept if ablating else cost.forward)
    flips = fewest_flips(heads)
    return Estimate(
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
    return images / 2**20, run.tile * run.group * widest * LIVE / 2**20
