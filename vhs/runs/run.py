"""One run: models, decoded data, conditions and the options they share; and the sweep over them.

Conditions outermost, tiles inside, models innermost: each image is decoded once, corrupted once a
condition, and a finished condition is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

import torch

from vhs.batch import Batch
from vhs.counts import Counts
from vhs.errors import MismatchError, UsageError, VhsError
from vhs.formats.atomic import sha256
from vhs.formats.pixels import Geometry
from vhs.formats.shards import ShardSet
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.progress import Note, Progress, silent, unheard
from vhs.runs import cache, ranks, remarks, runtime, sample_groups, scopes
from vhs.runs.conditions import CLEAN_OWN, Condition
from vhs.runs.journal import NOTHING_KEPT, Keeping, Results
from vhs.runs.sample_groups import LABEL


class Measure(Protocol):
    """Tallies of one model under one condition."""

    def add(self, batch: Batch) -> None: ...

    def results(self) -> dict[str, Counts]: ...


@dataclass(frozen=True)
class Calibration:
    """Images for fills. batches: uint8, equally large; name: what tables call them; ids, and a hash of these."""

    batches: Sequence[torch.Tensor]
    name: str
    ids: tuple[str, ...]

    @property
    def hash(self) -> str:
        return sha256("\n".join(self.ids).encode())[:16]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a measuring command works on.

    tile: samples a batch; group: variants stacked on it; adaptive: whether the data decided how many samples;
    unit: what is removed at once, or heads that are; rescale: whether the kept heads of its layer are scaled by
    H / kept; fills: what stands in for it; calibration: the images that those fills come from.
    """

    models: Sequence[Model]
    source: ShardSet
    data: cache.Decoded
    conditions: Sequence[Condition]
    seed: int
    tile: int
    group: int
    max_samples: int | None
    by: Sequence[str] = ()
    adaptive: bool = False
    unit: str = "head"
    rescale: bool = False
    fills: Sequence[str] = ("zero",)
    calibration: Calibration | None = None
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
        scopes.check_classes(condition.data, self.models)
        samples = cache.chosen(condition.data, self.max_samples, self.seed)
        by = [name for name in self.by if name == LABEL or name in condition.data.manifest.groups]
        decoded = cache.decode(
            condition.data, samples, tile=self.tile, by=by, skip_bad=self.skip_bad, progress=self.progress
        )
        self.tell_skipped(decoded)
        return decoded

    def own(self, geometry: Geometry) -> cache.Decoded:
        """The run's data at another geometry."""
        samples = cache.chosen(self.source, self.max_samples, self.seed)
        return cache.decode(
            self.source, samples, tile=self.tile, by=self.by, skip_bad=self.skip_bad, geometry=geometry,
            progress=self.progress,
        )  # fmt: skip

    def groups(self, condition: Condition) -> tuple[str, ...]:
        """Names of the sample groups that are tallied under a condition."""
        data = condition.data.manifest if condition.data else self.data.manifest
        return sample_groups.names(data, [name for name in self.by if name == LABEL or name in data.groups])

    def tell_skipped(self, decoded: cache.Decoded) -> None:
        """Note how many bad samples were left out, and the first."""
        skipped = ranks.gathered(list(decoded.skipped))
        if skipped:
            self.note(f"{len(skipped)} bad samples skipped; the first: {skipped[0]}")

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for two runs to give equal bytes."""
        return {
            "models": [model.weights_id for model in self.models],
            "names": [model.name for model in self.models],
            "data": self.data.manifest.hash,
            "conditions": [
                (item.name, item.origin, item.data.manifest.hash if item.data else None, item.rejpeg)
                for item in self.conditions
            ],
            "seed": self.seed,
            "max_samples": self.max_samples,
            "skip_bad": self.skip_bad,
            "by": list(self.by),
            "unit": self.unit,
            "rescale": self.rescale,
            "fills": list(self.fills),
            "fill_data": self.calibration.hash if self.calibration else None,
            "tile": self.tile,
            "group": self.group,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "precision": self.models[0].precision,
            "versions": runtime.versions(),
        }


def open_run(
    models: Sequence[Model], data: ShardSet, conditions: Sequence[Condition], *, seed: int = 0,
    tile: int | None = None, max_samples: int | None = None, by: Sequence[str] | None = (), skip_bad: bool = False,
    progress: Progress = silent, note: Note = unheard,
) -> Run:  # fmt: skip
    """Check that models and data fit, fix the tile, and decode the data.

    by: attributes to group samples by, None for all that the data has. Raises MismatchError for a model
    that lacks one of the data's classes.
    """
    if by is None:
        by = () if data.manifest.targets else data.manifest.groups
    models = [scopes.named(model, data, note) for model in models]
    sample_groups.check(data.manifest, by)
    scopes.check_classes(data, models)
    if len({model.precision for model in models}) > 1:
        raise UsageError("the models were loaded in different precisions. Load them in one.")
    runtime.set_precision(models[0].precision)
    samples = cache.chosen(data, max_samples, seed)
    fixed_tile, group = runtime.fit(models, len(samples), tile)
    decoded = cache.decode(data, samples, tile=fixed_tile, by=by, skip_bad=skip_bad, progress=progress)
    _check_side(decoded, conditions)
    if data.manifest.height is not None and any(item.shift == CLEAN_OWN for item in conditions):
        raise UsageError(
            "--shift clean_own: the images all have one size, at which they are used; it is for photographs."
        )
    run = Run(
        models=models, source=data, data=decoded, conditions=conditions, seed=seed, tile=fixed_tile, group=group,
        max_samples=max_samples, by=by, skip_bad=skip_bad, progress=progress, note=note,
    )  # fmt: skip
    try:
        for message in (*remarks.told(run), *remarks.unsteady(run)):
            note(message)
    except (RuntimeError, MemoryError) as error:
        less = runtime.smaller(fixed_tile)
        if tile is not None or less is None or not runtime.is_out_of_memory(error):
            raise
        note(f"a tile of {fixed_tile} x {group} does not fit the memory; trying {less}")
        return open_run(
            models, data, conditions, seed=seed, tile=less, max_samples=max_samples, by=by, skip_bad=skip_bad,
            progress=progress, note=note,
        )  # fmt: skip
    run.tell_skipped(decoded)
    return run


def reopened(run: Run, samples: int) -> Run:
    """The same run on the first `samples` of its nested order."""
    chosen = cache.chosen(run.source, samples, run.seed)
    decoded = cache.decode(
        run.source, chosen, tile=run.tile, by=run.by, skip_bad=run.skip_bad, progress=run.progress
    )  # fmt: skip
    return replace(run, data=decoded, max_samples=samples)


def sweep(
    run: Run, make: Callable[[Model, Scope], Measure], keeping: Keeping = NOTHING_KEPT,
    measure: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[tuple[Condition, Results]]:  # fmt: skip
    """Yield each condition, in order, with the tallies of every model under it.

    keeping: where finished conditions are kept; measure: what else than `run` must be equal to continue from them.
    """
    journal = keeping.open(run.fingerprint() | dict(measure), len(run.conditions), run.note)
    for condition in run.conditions:
        results = ranks.from_first(journal.load(condition.name))
        if results is None:
            results = _measure(run, condition, make)
            journal.store(condition.name, results)
        yield condition, results


def _check_side(data: cache.Decoded, conditions: Sequence[Condition]) -> None:
    from vhs.shifts.corruption import MIN_SIDE

    height, width = data.images_NCHW.shape[-2:]
    made = next((item.name for item in conditions if item.corruption and item.data is None), None)
    if made and min(height, width) < MIN_SIDE:
        raise MismatchError(
            f"{data.manifest.name}: images of {height}x{width} px, {made} needs {MIN_SIDE} px or more. "
            f"Shard larger images."
        )


def _measure(run: Run, condition: Condition, make: Callable[[Model, Scope], Measure]) -> Results:
    try:
        return _tallied(run, condition, make)
    except (RuntimeError, MemoryError) as error:
        if not runtime.is_out_of_memory(error):
            raise
        less = runtime.smaller(run.tile)
        advice = f"Run it again with --resume --tile {less}." if less else "Use a machine with more memory."
        raise VhsError(
            f"out of memory under {condition.name}, at a tile of {run.tile} x {run.group}; with -o the finished "
            f"conditions are kept. {advice}"
        ) from error


def _tallied(run: Run, condition: Condition, make: Callable[[Model, Scope], Measure]) -> Results:
    if condition.shift == CLEAN_OWN:
        own = [(own_geometry(model), model) for model in run.models]
        results = [
            part for geometry, model in own for part in _passed(run, condition, make, [model], run.own(geometry))
        ]
    else:
        results = _passed(run, condition, make, run.models, run.decoded(condition))
    results = ranks.summed(results)
    _check_finite(run, condition, results)
    return results


def _passed(
    run: Run, condition: Condition, make: Callable[[Model, Scope], Measure], models: Sequence[Model],
    data: cache.Decoded,
) -> Results:  # fmt: skip
    """One pass over `data` for `models`."""
    scope = Scope(scopes.views(run, condition), data.groups.names, data.total)
    measures = [make(model, scope) for model in models]
    number, conditions, each = run.conditions.index(condition), len(run.conditions), len(run.data)
    what = f"{condition.name} ({number + 1}/{conditions})"
    done = 0
    for batch in data.tiles(run.tile, run.device):
        so_far = number * each + done * each // max(len(data), 1)  # all conditions count alike, whatever their size
        run.progress(what, so_far, conditions * each)
        shifted = condition.apply(batch, run.seed)
        for measure in measures:
            measure.add(shifted)
        done += batch.size
    run.progress(what, (number + 1) * each, conditions * each)
    return [measure.results() for measure in measures]


def own_geometry(model: Model) -> Geometry:
    """The geometry of a model's own published transform."""
    own = model.preprocess
    crop = (own.height, own.width)
    return Geometry(int(min(crop) / own.crop_share), crop, own.interpolation, own.squash, own.floored)


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
