"""Which models are of one training run, and which runs of one recipe: told by their names and seeds."""

from __future__ import annotations

import re

SNAPSHOT = re.compile(r"(.*?)\.snapshots/[^/]*$")


def run_of(model: str) -> str:
    """The run of a checkpoint: its own name, or that of the run whose snapshot it is, without `.safetensors`."""
    found = SNAPSHOT.fullmatch(model)
    return (found[1] if found else model).removesuffix(".safetensors")


def recipe_of(model: str, seed: int | None) -> str:
    """The recipe of a checkpoint: the name of its run without the seed at its end: `runs/6h-2` of seed 2 is `6h`."""
    name = run_of(model).rsplit("/", 1)[-1]
    end = re.search(r"[-_.]?(?:seed[-_]?)?(\d+)$", name)
    return name[: end.start()] if end and end.start() and seed is not None and int(end[1]) == seed else name
