"""One run: models, decoded data, conditions and the options they share; and the sweep over them.

Conditions outermost, tiles inside, models innermost: each image is decoded once, corrupted once a
condition, and a finished condition is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from vhs.batch import Batch
from vhs.counts import Counts
from vhs.errors import MismatchError, UsageError, VhsError
from vhs.formats.shards import ShardSet
from vhs.measures.steadiness import settle
from vhs.models.model import Model
from vhs.progress import Note, Progress, silent, unheard
from vhs.runs import cache, runtime
from vhs.runs.conditions import Condition
from vhs.runs.journal import Journal, Results
from vhs.shifts.textures import PROCEDURAL


class Measure(Protocol):
    """Tallies of one model under one condition."""

    def add(self, batch: Batch) -> None: ...

    def results(self) -> dict[str, Counts]: ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a measuring command works on. tile: samples a batch; group: variants stacked on it."""

    models: Sequence[Model]
    data: cache.Decoded
    conditions: Sequence[Condition]
    seed: int
    tile: int
    group: int
    max_samples: int | None
    skip_bad: bool = False
    progress: Progress = silent
    note: Note = unheard

    @property
    def device(self) -> torch.device:
        return self.models[0].device

    def decoded(self, condition: Condition) -> cache.Decoded:
        """The data of a condition: the run's own, or the shifted shard set, decoded now."""
        if condition.data is None:
            return self.data
        check_classes(condition.data, self.models)
        decoded = cache.decode(
            condition.data, max_samples=self.max_samples, seed=self.seed, skip_bad=self.skip_bad,
            progress=self.progress,
        )  # fmt: skip
        self.tell_skipped(decoded)
        return decoded

    def tell_skipped(self, decoded: cache.Decoded) -> None:
        """Note how many bad samples were left out, and the first."""
        if decoded.skipped:
            self.note(f"{len(decoded.skipped)} bad samples skipped; the first: {decoded.skipped[0]}")

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two runs to give equal bytes."""
        return {
            "models": [model.weights_id for model in self.models],
            "names": [model.name for model in self.models],
            "data": self.data.manifest.hash,
            "conditions": [
                (item.name, item.origin, item.data.manifest.hash if item.data else None) for item in self.conditions
            ],
            "seed": self.seed,
            "max_samples": self.max_samples,
            "skip_bad": self.skip_bad,
            "tile": self.tile,
            "group": self.group,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "precision": self.models[0].precision,
            "versions": runtime.versions(),
        }


def open_run(
    models: Sequence[Model], data: ShardSet, conditions: Sequence[Condition], *, seed: int = 0,
    tile: int | None = None, max_samples: int | None = None, skip_bad: bool = False, progress: Progress = silent,
    note: Note = unheard,
) -> Run:  # fmt: skip
    """Check that models and data fit, decode the data, and fix the tile.

    Raises MismatchError for a model whose classes are not the data's.
    """
    check_classes(data, models)
    if len({model.precision for model in models}) > 1:
        raise UsageError("the models were loaded in different precisions. Load them in one.")
    runtime.set_precision(models[0].precision)
    decoded = cache.decode(
        data, max_samples=max_samples, seed=seed, skip_bad=skip_bad,
        progress=progress,
    )  # fmt: skip
    _check_side(decoded, conditions)
    fixed_tile, group = runtime.fit(models, len(decoded), tile)
    run = Run(
        models=models, data=decoded, conditions=conditions, seed=seed, tile=fixed_tile, group=group,
        max_samples=max_samples, skip_bad=skip_bad, progress=progress, note=note,
    )  # fmt: skip
    for message in (*_notes(run), *_unsteady(run)):
        note(message)
    run.tell_skipped(decoded)
    return run


def sweep(
    run: Run, make: Callable[[Model], Measure], journal: Journal | None = None
) -> Iterator[tuple[Condition, Results]]:
    """Yield each condition, in order, with the tallies of every model under it."""
    for condition in run.conditions:
        results = journal.load(condition.name) if journal else None
        if results is None:
            results = _measure(run, condition, make)
            if journal:
                journal.store(condition.name, results)
        yield condition, results


def check_classes(data: ShardSet, models: Sequence[Model]) -> None:
    for model in models:
        if tuple(model.classes) != tuple(data.manifest.classes):
            ours, theirs = len(model.classes), len(data.manifest.classes)
            raise MismatchError(
                f"{model.name}: has {ours} classes ({_first(model.classes)}), {data.folder} has {theirs} "
                f"({_first(data.manifest.classes)}). Name data with the model's classes."
            )


def _check_side(data: cache.Decoded, conditions: Sequence[Condition]) -> None:
    from vhs.shifts.corruption import MIN_SIDE

    height, width = data.images_NCHW.shape[-2:]
    made = next((item.name for item in conditions if item.corruption and item.data is None), None)
    if made and min(height, width) < MIN_SIDE:
        raise MismatchError(
            f"{data.manifest.name}: images of {height}x{width} px, {made} needs {MIN_SIDE} px or more. "
            f"Shard larger images."
        )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _measure(run: Run, condition: Condition, make: Callable[[Model], Measure]) -> Results:
    data = run.decoded(condition)
    measures = [make(model) for model in run.models]
    done = 0
    for batch in data.tiles(run.tile, run.device):
        run.progress(condition.name, done, len(data))
        shifted = condition.apply(batch, run.seed)
        for measure in measures:
            measure.add(shifted)
        done += batch.size
    run.progress(condition.name, done, len(data))
    results = [measure.results() for measure in measures]
    _check_finite(run, condition, results)
    return results


def _check_finite(run: Run, condition: Condition, results: Results) -> None:
    for model, tallies in zip(run.models, results, strict=True):
        for counts in tallies.values():
            if "n_nonfinite" in counts.fields:
                bad = int(counts["n_nonfinite"].sum())
                if bad:
                    raise VhsError(
                        f"{model.name}: {bad} answers under {condition.name} are infinite or not a number. "
                        f"Try --precision float32; if it stays, the weights are damaged."
                    )


def _unsteady(run: Run) -> list[str]:
    """Settle every model on kernels that keep a sample's bits; name those for which there are none."""
    tile = next(run.data.tiles(run.tile, run.device))
    return [
        f"{model.name}: its logits change in their last bits with a sample's place in the tile; see n_near_tie"
        for model in run.models
        if not settle(model, tile.images_BCHW, run.group)
    ]


def _notes(run: Run) -> list[str]:
    """What a reader of the numbers should be told."""
    notes = []
    side = tuple(run.data.images_NCHW.shape[-2:])
    sizes = {(model.preprocess.height, model.preprocess.width) for model in run.models}
    for size in sorted(sizes - {side}):
        notes.append(f"images are {side[0]}x{side[1]} px and are resized to the model's {size[0]}x{size[1]}")
    if any(condition.origin == PROCEDURAL for condition in run.conditions):
        notes.append(
            "frost is made of procedural textures; name the folder of the photographs in $VHS_FROST "
            "or install vhs-heads[frost]"
        )
    if any(condition.corruption and condition.data is None for condition in run.conditions):
        from vhs.shifts.parameters import SIDES, nearest_table

        table = nearest_table(*side)
        if min(side) != SIDES[table]:
            notes.append(f"corruption strengths for {min(side)} px images are those published for {SIDES[table]} px")
    return notes
