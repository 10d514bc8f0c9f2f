"""Measures of what heads look at against a plain forward pass, data in memory, alternating.

`python -m tests.bench.looking [--device cuda]`. "maps": all measures of attention maps within layers, the pass in which
they are read included; "everything": also what heads write, follow and give the logits, as `vhs specialize
--within-layer` tallies it; "across": also every two heads of the model. Memory is that of the process: after few images
and after many.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from tests.bench.sweep import MODELS, model_of
from tests.bench.timing import alternate, machine, say
from vhs.batch import Batch
from vhs.measures import attention
from vhs.measures.head_values import Others, Wanted
from vhs.measures.observation import Observer
from vhs.measures.pairings import Pairings
from vhs.measures.scoring import Scope
from vhs.measures.specialization import Placed, Specialization, chunk_of
from vhs.measures.steadiness import settle
from vhs.models.model import Model
from vhs.runs import runtime

IMAGES = {"demo (6 x 4)": 1024}
FEW = 16
"""Images of 224 px."""


def main() -> None:
    device = runtime.prepare("cuda" if "cuda" in sys.argv else "cpu", None, "float32")
    say(machine())
    for name in MODELS:
        compare(name, device)
    memory(device)


def compare(name: str, device: torch.device) -> None:
    """One line: how many forward passes the measures take."""
    model = model_of(name, device, "float32")
    batch = batch_of(model, IMAGES.get(name, FEW))
    settle(model, batch.images_BCHW[:16], 1)  # as every run does: few tokens get plain attention
    sync = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    plain = partial(forward, model, batch)
    ways: dict[str, Callable[[], object]] = {
        "maps": maps_only(model, batch), "everything": specialize(model, batch, across=False),
        "across": specialize(model, batch, across=True),
    }  # fmt: skip
    found = []
    for what, way in ways.items():
        ours, other, ratio = alternate(way, plain, rounds=5, sync=sync)
        found.append(f"{what} {ours * 1e3:7.0f} ms = {1 / ratio:.2f} x")
    say(f"{name:<15} {len(batch.keys_B):>4} images  forward {other * 1e3:6.0f} ms  {'  '.join(found)}")


def forward(model: Model, batch: Batch) -> torch.Tensor:
    with torch.inference_mode():
        return model.net(model.preprocess(batch.images_BCHW))


def maps_only(model: Model, batch: Batch) -> Callable[[], None]:
    """In chunks as `Specialization` takes them."""
    observer = Observer(model)
    layers = observer.probe.layers
    placed = Placed(model.grid, layers, model.device)
    pairings = Pairings(model.grid, observer.probe, model.device, across=False)
    pairings.groups = [replace(group, alike=None) for group in pairings.groups]  # that is of outputs
    chunk = chunk_of(model, observer)

    def run() -> None:
        with torch.inference_mode():
            for start in range(0, batch.size, chunk):
                part = batch.part(slice(start, min(start + chunk, batch.size)))
                seen = observer.see(model.preprocess(part.images_BCHW))
                for layer in seen.layers:
                    list(attention.quantities(layer))
                    layer.forget()
                placed.add(seen.layers, part.folds_B)
                pairings.add(seen, part.folds_B)

    return run


def specialize(model: Model, batch: Batch, *, across: bool) -> Callable[[], None]:
    others = Others(batch.images_BCHW[:8], batch.keys_B[:8])
    scope = Scope.whole(len(model.classes), model.device)
    return partial(Specialization(model, scope, Wanted(others=others, across=across)).add, batch)


def batch_of(model: Model, count: int) -> Batch:
    size = model.preprocess
    shape = (count, size.channels, size.height, size.width)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=model.device)
    numbers = torch.arange(count, device=model.device)
    return Batch(pixels, numbers % 10, numbers, numbers % 20, numbers.new_empty(0, count), count)


def memory(device: torch.device) -> None:
    """Of the process, at its most, as images come in."""
    if device.type == "cuda":
        return
    model = model_of("12 x 3, 224 px", device, "float32")
    batch = batch_of(model, FEW)
    run = specialize(model, batch, across=False)
    sizes = []
    for rounds in (1, 7):
        for _ in range(rounds):
            run()
        sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    say(f"peak memory after {FEW} images {sizes[0]:.0f} MiB, after {8 * FEW} images {sizes[1]:.0f} MiB")


if __name__ == "__main__":
    main()
