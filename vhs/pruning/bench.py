"""A pruning run: orders of heads, chosen on some images; the curve of every order, on all; how far heads may go.

Letters: N samples, V networks, J steps of a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from torch import nn

from vhs.errors import MismatchError, UsageError
from vhs.formats import schemas
from vhs.formats.atomic import sha256
from vhs.formats.references import Loaded
from vhs.formats.tables import frame
from vhs.grid import Place, head_name
from vhs.measures.pruned import PrunedEvaluation, unpack
from vhs.measures.pruning_options import LIST, RANDOM, SINGLE, Pruning
from vhs.measures.rate import images_per_second
from vhs.measures.weight_fills import Calibration, Pruner
from vhs.models import flops
from vhs.models.model import Model
from vhs.pruning import checkpoint, orders
from vhs.pruning.certifying import Certificate, within
from vhs.pruning.curve import curve
from vhs.pruning.steps import Measured, Step
from vhs.runs import cache
from vhs.runs.conditions import Condition
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.recording import measured_keys
from vhs.runs.run import Run, sweep
from vhs.seeds import folds, sample_keys

MOST_STEPS = 36
"""A path is measured at so many points at most, unless another step is named."""
RANDOM_STEPS = 10
"""And a random order at so many."""


@dataclass(frozen=True)
class Route:
    """An order and where it is measured. points: numbers of heads gone, ascending, 0 first."""

    order: str
    heads: Sequence[Place]
    points: Sequence[int]


@dataclass(frozen=True)
class Pruned:
    """What a run gives: the prune rows; the network that --keep and its like choose, None without any of them; the
    heads it lacks; the certificate, where one was asked for."""

    rows: pl.DataFrame
    net: nn.Module | None
    removed: tuple[Place, ...] = ()
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Bench:
    """loaded: the model; run: opened, of it and the reported conditions; choose_on: conditions that orders are measured
    under; table: folds rows to order by, where there are any; counted: the conditions that means and certificates are
    of."""

    loaded: Loaded
    run: Run
    asked: Pruning
    choose_on: Sequence[Condition] = ()
    table: pl.DataFrame | None = None
    counted: Sequence[Condition] = ()

    def prune(self, keeping: Keeping = NOTHING_KEPT) -> Pruned:
        """Order, measure, choose."""
        paths = self.paths()
        steps = [step for path in paths for step in _steps(path, len(self.model.grid))]
        sets = list(dict.fromkeys([(), *(step.removed for step in steps)]))
        nets = [self.pruner.without(removed) for removed in sets]
        sizes = [self._sizes(*pair) for pair in zip(nets, sets, strict=True)]
        place = {removed: index for index, removed in enumerate(sets)}
        steps = [replace(step, network=place[step.removed], sizes=sizes[place[step.removed]]) for step in steps]
        measured = list(self._measured(nets, sets, keeping))
        drawn = curve(measured, steps, self.asked)
        first = [step for step in steps if step.order == paths[0].order]
        chosen = self._chosen(measured, drawn.certificate, first)
        rows = frame(schemas.PRUNE, drawn.rows)
        if chosen is None:
            return Pruned(rows, None, certificate=drawn.certificate)
        return Pruned(rows, nets[chosen.network], chosen.removed, drawn.certificate)

    def checkpoint(self, found: Pruned, out: Path) -> bytes:
        """The file of what was chosen. out: where it will lie, by which it finds its data."""
        assert found.net is not None
        return checkpoint.to_bytes(
            self.loaded, found.net, found.removed, self.asked, found.certificate, val=self.run.source, out=out
        )

    @property
    def model(self) -> Model:
        return self.run.models[0]

    @cached_property
    def pruner(self) -> Pruner:
        images = self.run.fill_images
        calibration = None
        if images is not None:
            calibration = Calibration(self.model, [batch.to(self.run.device) for batch in images.batches])
        return Pruner(self.model, self.asked.fill, calibration, among=self.asked.among)

    def in_words(self) -> str:
        """For --dry-run: what would be measured."""
        networks = len({step.removed for path in self._planned() for step in _steps(path, len(self.model.grid))} | {()})
        images = self.run.data.total * len(self.run.conditions)
        whole = self._flops(())
        return (
            f"model       {self.model.name}: {len(self.pruner.heads)} heads can go\n"
            f"data        {self.run.source.folder}, {self.run.data.total} samples: "
            f"{len(self._chooser.run.data)} choose, the others report\n"
            f"conditions  {len(self.run.conditions)}\n"
            f"networks    {networks}, {networks * images:,} passes of at most {whole:.2e} FLOPs, orders apart\n"
        )

    def _planned(self) -> list[Route]:
        """Paths as long as those that will be measured, in no order of merit."""
        mine = [self._listed()] if self.asked.listed else [
            self._path(name, orders.random_path(self.pruner.heads, 0, -2 - index))
            for index, name in enumerate(self.asked.orders)
        ]  # fmt: skip
        return [*mine, *self._controls()]

    def _controls(self) -> list[Route]:
        """Every head alone, and random orders."""
        heads = self.pruner.heads
        every = self.asked.every or 1  # so that random orders stand at points that the others have
        points = _points(len(heads), every * -(-len(heads) // (RANDOM_STEPS * every)))
        drawn = [orders.random_path(heads, self.run.seed, draw) for draw in range(self.asked.random)]
        return [Route(SINGLE, heads, ()), *(Route(f"{RANDOM}-{draw}", path, points) for draw, path in enumerate(drawn))]

    def paths(self) -> list[Route]:
        """What is measured: the orders asked for, every head alone, and random orders."""
        if self.asked.listed:
            return [self._listed(), *self._controls()]
        return [*(self._path(name, self._chooser.path(name)) for name in self.asked.orders), *self._controls()]

    @cached_property
    def _chooser(self) -> orders.Chooser:
        return orders.Chooser(self.run, self.choose_on, self.pruner, self.asked, self.table)

    def _path(self, order: str, heads: Sequence[Place]) -> Route:
        points = set(_points(len(heads), self.asked.every or -(-len(heads) // MOST_STEPS)))
        if self.asked.keep is not None:
            points.add(self._gone_by(heads, self.asked.keep))
        if self.asked.flops is not None:
            points.add(self._gone_at(heads, self.asked.flops))
        return Route(order, heads, sorted(points))

    def _gone_by(self, heads: Sequence[Place], kept: int) -> int:
        """How many heads must go for so many to be left. Raises UsageError where that cannot be."""
        total = len(self.model.grid)
        if not total - len(heads) <= kept <= total:
            raise UsageError(f"--keep {kept}: {self.model.name} has {total} heads, {len(heads)} of which can go.")
        return total - kept

    def _gone_at(self, heads: Sequence[Place], share: float) -> int:
        """How many heads must go for this share of the FLOPs. Raises UsageError where all do not suffice."""
        whole = self._flops(())
        found = next((gone for gone in range(len(heads) + 1) if self._flops(heads[:gone]) <= share * whole), None)
        if found is None:
            raise UsageError(
                f"--flops {share:g}: without any head {self._flops(heads) / whole:.0%} of the FLOPs are left."
            )
        return found

    def _sizes(self, net: nn.Module, removed: Sequence[Place]) -> dict[str, Any]:
        """Parameters, FLOPs of an image, and, where asked for, images a second."""
        return {
            "parameters": sum(parameter.numel() for parameter in net.parameters()), "flops": self._flops(removed),
            "images_per_s": images_per_second(self.model, net, self.run.tile) if self.asked.speed else None,
        }  # fmt: skip

    def _flops(self, removed: Sequence[Place]) -> int:
        """Of a pass over one image; every head of a layer takes as many, so that each layer is counted once."""
        whole, by_layer = self._counted
        return whole - sum(by_layer[layer] for layer, _ in removed)

    @cached_property
    def _counted(self) -> tuple[int, dict[int, int]]:
        """(of the whole network; by layer those of one of its heads)."""
        one = {layer: (layer, head) for layer, head in self.pruner.heads}
        pixels = self.model.noise()
        whole = flops.forward(self.model.net, pixels)
        return whole, {
            layer: whole - flops.forward(self.pruner.without([place]), pixels) for layer, place in one.items()
        }

    def _listed(self) -> Route:
        """The heads that were named, in their order. Raises MismatchError for one that cannot go."""
        for layer, head in self.asked.listed:
            if (layer, head) not in self.pruner.heads:
                known = ", ".join(head_name(*place) for place in self.pruner.heads[:6])
                raise MismatchError(
                    f"--select {head_name(layer, head)}: there is no such head to take out; {known}, … can go."
                )
        return Route(LIST, self.asked.listed, range(len(self.asked.listed) + 1))

    def _measured(
        self, nets: Sequence[nn.Module], sets: Sequence[tuple[Place, ...]], keeping: Keeping
    ) -> Iterator[Measured]:
        what = {
            "measure": "prune", "weight_fill": str(self.asked.fill),
            "sets": sha256(str(sets).encode())[:16],
        }  # fmt: skip
        found = sweep(self.run, lambda model, scope: PrunedEvaluation(model, scope, nets), keeping, what)
        for condition, (tallies,) in found:
            samples = cache.choose(condition.data or self.run.source, self.run.max_samples, self.run.seed)
            ids = tuple(sample.id for sample in samples)
            present, right = unpack(tallies["outcomes"], len(nets))
            yield Measured(
                measured_keys(self.run, condition, self.model), condition in self.counted, ids,
                np.where(present, folds(sample_keys(ids)), -1), tallies["sums"], tallies["bins"], right,
            )  # fmt: skip

    def _chosen(
        self, measured: Sequence[Measured], certificate: Certificate | None, first: Sequence[Step]
    ) -> Step | None:
        """The step of the first order that is saved, by what was asked for; None where nothing was."""
        asked = self.asked
        if certificate is not None:
            return certificate.step
        if asked.listed:
            return first[-1]
        if asked.tolerance is not None:
            return within(measured, first, asked)
        if asked.keep is not None:
            return next((step for step in first if step.heads_left == asked.keep), None)
        if asked.flops is not None:
            whole = first[0].flops
            return next(step for step in first if step.flops <= asked.flops * whole)
        return None


def _steps(path: Route, total: int) -> list[Step]:
    """The points of a path; of `single` every head alone."""
    if path.order == SINGLE:
        return [Step(order=SINGLE, round=index, heads_left=total - 1, removed=(place,), new=(place,))
                for index, place in enumerate(path.heads)]  # fmt: skip
    points = list(path.points)
    return [
        Step(order=path.order, round=index, heads_left=total - gone, removed=tuple(sorted(path.heads[:gone])),
             new=tuple(path.heads[before:gone]))
        for index, (before, gone) in enumerate(zip([0, *points], points, strict=False))
    ]  # fmt: skip


def _points(heads: int, every: int) -> list[int]:
    """Numbers of heads gone, from none to all, a step of `every`."""
    return [*range(0, heads, every), heads]
