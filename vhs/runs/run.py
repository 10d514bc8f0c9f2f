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

from vhs import environment
from vhs.batch import Batch
from vhs.counts import Counts
from vhs.errors import VhsError
from vhs.formats.manifest import Manifest
from vhs.formats.pixels import IMAGENET, Geometry
from vhs.formats.shards import ShardSet
from vhs.measures.ablation_options import HEADS_BY_ZEROS, Ablation
from vhs.measures.scoring import Scope, View
from vhs.models.model import Model
from vhs.progress import Note, Progress, silent, unheard
from vhs.runs import beside, cache, ranks, runtime, sample_groups, scopes
from vhs.runs.conditions import CLEAN_OWN, Condition
from vhs.runs.fill_images import FillImages
from vhs.runs.journal import NOTHING_KEPT, Keeping, Results
from vhs.world import WHOLE, Part


class Measure(Protocol):
    """Tallies of one model under one condition."""

    def add(self, batch: Batch) -> None: ...

    def results(self) -> dict[str, Counts]: ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a measuring command works on.

    tile: samples a batch; stack: variants of them at once; adaptive: whether the data decided how many samples;
    ablation: what is removed, and what stands in for it; fill_images: those that this comes from; regions: whether maps
    of regions come with the images; twins: whether those of a stored version come with what they were before; folds:
    those whose samples are measured, None for all (`of_folds` leaves them out of the data); part: which of several
    jobs on it this is.
    """

    models: Sequence[Model]
    source: ShardSet
    data: cache.Decoded
    conditions: Sequence[Condition]
    seed: int
    tile: int
    stack: int
    max_samples: int | None
    by: Sequence[str] = ()
    adaptive: bool = False
    ablation: Ablation = HEADS_BY_ZEROS
    fill_images: FillImages | None = None
    regions: bool = False
    twins: bool = False
    folds: tuple[int, ...] | None = None
    part: Part = WHOLE
    skip_bad: bool = False
    progress: Progress = silent
    note: Note = unheard

    @property
    def device(self) -> torch.device:
        return self.models[0].device

    @property
    def tiles(self) -> int:
        """How many tiles the samples of all parts and processes are."""
        return -(-self.data.total // self.tile)

    def of_folds(self, folds: tuple[int, ...]) -> Run:
        """The same run on the samples of these folds alone."""
        return replace(self, data=self.data.of_folds(folds), folds=folds)

    def data_of(self, condition: Condition) -> cache.Decoded:
        """The data of a condition: the run's own, or the shifted shard set, decoded now."""
        if condition.data is None:
            return self.data
        scopes.check_classes(condition.data, self.models)
        samples = cache.choose(condition.data, self.max_samples, self.seed)
        by = sample_groups.of(condition.data.manifest, self.by)
        decoded = cache.decode(
            condition.data, samples, tile=self.tile, by=by, skip_bad=self.skip_bad, progress=self.progress,
            part=self.part,
        )  # fmt: skip
        self.note_skipped(decoded)
        return self._with_beside(decoded, condition.data)

    def at_geometry(self, geometry: Geometry) -> cache.Decoded:
        """The run's data at another geometry."""
        samples = cache.choose(self.source, self.max_samples, self.seed)
        decoded = cache.decode(
            self.source, samples, tile=self.tile, by=self.by, skip_bad=self.skip_bad, geometry=geometry,
            progress=self.progress, part=self.part,
        )  # fmt: skip
        return self._with_beside(decoded, self.source, geometry)

    def _with_beside(self, decoded: cache.Decoded, data: ShardSet, geometry: Geometry = IMAGENET) -> cache.Decoded:
        """With what the run measures beside the images: region maps, and what a stored version's images were before."""
        decoded = decoded if self.folds is None else decoded.of_folds(self.folds)
        if self.regions:
            decoded = beside.with_regions(decoded, data, geometry)
        if not self.twins or not self.has_clean(data):
            return decoded
        return beside.with_clean(decoded, self.source, self.data, skip_bad=self.skip_bad)

    def has_clean(self, data: ShardSet) -> bool:
        """Whether a set is a shifted version of the run's data."""
        return (data.manifest.base or {}).get("hash") == self.data.manifest.hash

    def decode_again(self, *, samples: int | None = None, tile: int | None = None) -> Run:
        """The same run on the first `samples` of its nested order, or at another tile."""
        samples = self.max_samples if samples is None else samples
        chosen = cache.choose(self.source, samples, self.seed)
        fixed, stack = (self.tile, self.stack) if tile is None else runtime.fit(self.models, len(chosen), tile)
        decoded = cache.decode(
            self.source, chosen, tile=fixed, by=self.by, skip_bad=self.skip_bad, progress=self.progress, part=self.part
        )
        return replace(self, data=decoded, max_samples=samples, tile=fixed, stack=stack)

    def manifest(self, condition: Condition) -> Manifest:
        """Of the data under a condition."""
        return condition.data.manifest if condition.data else self.data.manifest

    def groups(self, condition: Condition) -> tuple[str, ...]:
        """Names of the sample groups that are tallied under a condition."""
        data = self.manifest(condition)
        return sample_groups.names(data, sample_groups.of(data, self.by))

    def views(self, condition: Condition) -> tuple[View, ...]:
        """Which classes are answered under a condition."""
        return scopes.views(condition, self.conditions, self.manifest(condition), self.models[0])

    def label_set(self, condition: Condition) -> str:
        """What the first of `views` is called."""
        return scopes.label_set(self.manifest(condition), self.models[0])

    def note_skipped(self, decoded: cache.Decoded) -> None:
        """Note how many bad samples were left out, and the first."""
        skipped = ranks.gather(list(decoded.skipped))
        if skipped:
            self.note(f"{len(skipped)} bad samples skipped; the first: {skipped[0]}")

    def in_words(self) -> str:
        """How much of what is measured, and how."""
        return f"{self.data.total} samples of {self.source.folder}, tile {self.tile} x {self.stack}, {self.device}"

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
            "unit": str(self.ablation.units),
            "rescale": self.ablation.rescale,
            "fills": [kind.name for kind in self.ablation.fills],
            "fill_data": self.fill_images.hash if self.fill_images else None,
            "tile": self.tile,
            "group": self.stack,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "precision": self.models[0].precision,
            "versions": environment.versions(),
        }

    def provenance(self) -> dict[str, Any]:
        """What a Parquet table records of its making: versions, inputs, options. No clock."""
        return self.fingerprint() | ({"fill_ids": list(self.fill_images.ids)} if self.fill_images else {})


def sweep(
    run: Run, make: Callable[[Model, Scope], Measure], keeping: Keeping = NOTHING_KEPT,
    measure: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[tuple[Condition, Results]]:  # fmt: skip
    """Yield each condition, in order, with the tallies of every model under it.

    keeping: where finished conditions are kept; measure: what else than `run` must be equal to continue from them.
    """
    shared = {"part": str(run.part)} if run.part.count > 1 else {}
    journal = keeping.open(run.fingerprint() | dict(measure) | shared, len(run.conditions), run.note)
    for condition in run.conditions:
        results = ranks.from_first(journal.load(condition.name))
        if results is None:
            results = _measure(run, condition, make)
            journal.store(condition.name, results)
        yield condition, results


def _measure(run: Run, condition: Condition, make: Callable[[Model, Scope], Measure]) -> Results:
    try:
        return _tally(run, condition, make)
    except (RuntimeError, MemoryError) as error:
        if not runtime.is_out_of_memory(error):
            raise
        less = runtime.smaller(run.tile)
        again = "Run it again with --resume" if run.part.count == 1 else "Run all parts anew, without --resume, with"
        advice = f"{again} --tile {less}." if less else "Use a machine with more memory."
        raise VhsError(
            f"out of memory under {condition.name}, at a tile of {run.tile} x {run.stack}; with -o the finished "
            f"conditions are kept. {advice}"
        ) from error


def _tally(run: Run, condition: Condition, make: Callable[[Model, Scope], Measure]) -> Results:
    if condition.shift == CLEAN_OWN:
        own = [(own_geometry(model), model) for model in run.models]
        results = [
            part
            for geometry, model in own
            for part in _pass_over(run, condition, make, [model], run.at_geometry(geometry))
        ]
    else:
        results = _pass_over(run, condition, make, run.models, run.data_of(condition))
    results = ranks.add_up(results)
    _check_finite(run, condition, results)
    return results


def _pass_over(
    run: Run, condition: Condition, make: Callable[[Model, Scope], Measure], models: Sequence[Model],
    data: cache.Decoded,
) -> Results:  # fmt: skip
    """One pass over `data` for `models`."""
    twins = condition.made or data.beside.clean_NCHW is not None
    scope = Scope(run.views(condition), data.groups.names, data.total, twins)
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
