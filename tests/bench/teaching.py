"""What a teacher and diverse heads cost beside a plain step, alternating. `python -m tests.bench.teaching [--device cuda]`.

Every line is an update of `vhs train` with that term; beside it a plain update of the same student (`x plain`) and, for
terms of a teacher, a plain update and one pass of the teacher together (`x both`). Kept: bytes that the backward pass
is given, which the device's memory must hold. The teacher has the student's sizes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tests.bench.timing import alternate, machine, say
from vhs.fitting import teaching
from vhs.formats.references import Loaded
from vhs.models.building import build
from vhs.models.model import Model, Preprocess
from vhs.models.spec import ViTSpec
from vhs.runs.runtime import keep_freed_memory
from vhs.training import feed, loop
from vhs.training.objective import Objective
from vhs.training.recipe import Recipe

TAUGHT = {
    "attention of all layers, kl": {"distill": "attention"},
    "the same, mse of scores": {"distill": "attention", "distill_loss": "mse"},
    "the same, averaged over heads": {"distill": "attention", "distill_heads": "mean"},
    "relations of all layers": {"distill": "attention", "distill_heads": "relations"},
    "attention of the last layer": {"distill": "attention", "grain": "block:{last}"},
    "one head": {"distill": "attention", "grain": "head:0.1:0.1"},
    "logits": {"distill": "logits"},
    "token": {"distill": "token"},
}
DIVERSE = {
    "diversity, last layer": {"diversity": 1.0},
    "the same, 2 pairs": {"diversity": 1.0, "diversity_pairs": 2},
    "diversity, all layers": {"diversity": 1.0, "diversity_layers": "all"},
}


BATCHES = 64
"""Of an epoch: at its first update the answers' gradient is taken apart, which takes another backward pass."""


class Bench:
    """A student of these sizes and a teacher like it."""

    def __init__(self, recipe: Recipe, side: int, channels: int, classes: int, device: torch.device) -> None:
        self.recipe, self.device, self.classes = recipe, device, classes
        self.sides = {"channels": channels, "height": side, "width": side, "classes": classes}
        self.preprocess = Preprocess(
            height=side, width=side, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels
        )  # fmt: skip
        self.images = torch.randint(
            0, 256, (BATCHES * recipe.batch, channels, side, side), dtype=torch.uint8, device=device
        )
        spec = recipe.spec(**self.sides)
        net = build(spec).to(device).eval().requires_grad_(False)
        self.teacher = Loaded(Model(
            net=net, preprocess=self.preprocess, name="teacher", weights_id="", spec=spec,
            classes=tuple(map(str, range(classes))),
        ))  # fmt: skip

    def updates(self, **keys: object) -> Iterator[float]:
        """Updates without an end."""
        recipe = self.recipe.with_values({"epochs": 10**6} | keys, "bench")
        spec = recipe.spec(**self.sides)
        objective = self._objective(recipe, spec)
        state = loop.start(recipe, spec, len(self.images), self.device, objective=objective)
        labels = torch.arange(len(self.images), device=self.device)
        source = feed.Resident(recipe, feed.Samples(labels % self.classes, labels), self.images)
        return loop.updates(state, recipe, source, self.preprocess, objective)

    def look(self) -> None:
        """One pass of the teacher over a batch."""
        pixels = self.preprocess(self.images[: self.recipe.batch])
        bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=loop.uses_bf16(self.recipe, self.device))
        with torch.no_grad(), bf16:
            self.teacher.model.net(pixels)

    def _objective(self, recipe: Recipe, spec: ViTSpec) -> Objective:
        return teaching.objective(teaching.Lesson(
            recipe=recipe, spec=spec, outputs=self.teacher.model.classes, preprocess=self.preprocess,
            device=self.device, calibration=lambda: self.images[:64],
            teacher=self.teacher if recipe.told else None,
        ))  # fmt: skip


def kept_bytes(step: Callable[[], object]) -> int:
    """What the backward passes of a step are given, each storage once."""
    seen: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        step()
    return sum(seen.values())


def several(step: Callable[[], object], count: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            step()

    return run


def compare(name: str, bench: Bench, steps: int, rounds: int) -> None:
    """A line a term."""
    sync = torch.cuda.synchronize if bench.device.type == "cuda" else (lambda: None)
    plain = bench.updates()
    next(plain)
    say(f"{name}: batch {bench.recipe.batch}, plain step keeps {kept_bytes(lambda: next(plain)) / 2**20:,.0f} MiB")
    last = bench.recipe.depth - 1

    def both() -> None:
        next(plain)
        bench.look()

    for label, keys in (TAUGHT | DIVERSE).items():
        values = {key: value.format(last=last) if isinstance(value, str) else value for key, value in keys.items()}
        updates = bench.updates(**values)
        next(updates)
        kept = kept_bytes(lambda: next(updates)) / 2**20  # noqa: B023
        ours = several(lambda: next(updates), steps)  # noqa: B023
        _, seconds, ratio = alternate(ours, several(lambda: next(plain), steps), rounds=rounds, sync=sync)
        beside = ""
        if "distill" in keys:
            beside = f"{1 / alternate(ours, several(both, steps), rounds=rounds, sync=sync)[2]:>7.2f} x both"
        say(f"  {label:<32}{1 / ratio:>6.2f} x plain ({seconds / steps * 1e3:,.0f} ms){kept:>8,.0f} MiB{beside}")


def main(arguments: list[str]) -> None:
    device = torch.device(arguments[arguments.index("--device") + 1] if "--device" in arguments else "cpu")
    keep_freed_memory()
    say(machine())
    torch.manual_seed(0)
    tiny = {"depth": 12, "dim": 192, "heads": 3, "mlp_ratio": 4.0, "patch": 16}
    if device.type == "cpu":
        compare("demo", Bench(Recipe(), 28, 1, 10, device), steps=3, rounds=5)
        compare("Ti", Bench(Recipe().with_values(tiny | {"batch": 4}, "bench"), 224, 3, 1000, device), 1, 3)
        return
    compare("Ti, bf16", Bench(Recipe().with_values(tiny | {"batch": 256}, "bench"), 224, 3, 1000, device), 3, 5)


if __name__ == "__main__":
    main(sys.argv[1:])
