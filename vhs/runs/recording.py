"""A run as a record: what its rows say beside numbers, in plain values, from which records/ makes tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vhs.formats.pixels import IMAGENET, in_words
from vhs.measures.scoring import Scope
from vhs.models.model import Model
from vhs.records.kinds import KINDS
from vhs.records.record import ConditionRecord, ModelRecord, Record, Results, Samples, View
from vhs.runs import cache, sample_groups, scopes
from vhs.runs.conditions import CLEAN_OWN, REJPEG, Condition
from vhs.runs.journal import Keeping
from vhs.runs.run import Measure, Run, own_geometry, sweep
from vhs.summaries.tallied import Row


@dataclass(frozen=True)
class Measured:
    """A run that is measured as its tallies are read. fingerprint: what must be equal for these to be equal; tallies:
    of all models, by condition of the record."""

    run: Run
    record: Record
    fingerprint: dict[str, Any]
    tallies: Iterator[Results]

    @classmethod
    def of(
        cls, run: Run, record: Record, make: Callable[[Model, Scope], Measure], keeping: Keeping,
        what: Mapping[str, Any],
    ) -> Measured:  # fmt: skip
        """Of a sweep; what: as there."""
        tallies = (results for _, results in sweep(run, make, keeping, what))
        return cls(run, record, run.fingerprint() | dict(what), tallies)

    def tables(self) -> Iterator[Any]:
        """The tables of each finished condition."""
        make = KINDS[self.record.measured].make
        for condition, results in zip(self.record.conditions, self.tallies, strict=True):
            yield make(self.record, condition, results)


def record_of(
    run: Run, measured: str, *, models: Sequence[ModelRecord] | None = None, outcomes: bool = False
) -> Record:  # fmt: skip
    """The record of a run. models: where more is to be said of them than `model_record` says; outcomes: whether those
    of each sample are kept."""
    manifest, ablation = run.data.manifest, run.ablation
    sets = {(item.data or run.source).manifest.hash: item for item in run.conditions} if outcomes else {}
    return Record(
        measured=measured, classes=len(manifest.classes), targets=manifest.targets,
        models=tuple(models if models is not None else map(model_record, run.models)),
        conditions=tuple(_condition(run, item, list(sets)) for item in run.conditions),
        units=ablation.units, fills=tuple(kind.name for kind in ablation.fills), rescale=ablation.rescale,
        fill_data=run.fill_images.name if run.fill_images else None, method=ablation.method, adaptive=run.adaptive,
        outcomes=outcomes, shares=manifest.extra.get("train_groups"),
        samples=tuple(_samples(run, item) for item in sets.values()),
    )  # fmt: skip


def model_record(model: Model, *, heads: bool = False) -> ModelRecord:
    """heads: whether they are of account."""
    return ModelRecord(
        model=model.name, model_id=model.weights_id, step=model.step, seed=model.seed, precision=model.precision,
        grid=model.grid if heads else None,
    )  # fmt: skip


def measured_keys(run: Run, condition: Condition, model: Model) -> Row:
    """The columns every measured row starts with."""
    return model_record(model).keys | _condition(run, condition).keys


def _condition(run: Run, condition: Condition, sets: Sequence[str] = ()) -> ConditionRecord:
    """sets: hashes of the data whose samples are in the record."""
    data = run.data.manifest
    if condition.data is not None:
        scopes.check_classes(condition.data, run.models)  # told here, before the sweep
    if condition.data and not run.has_clean(condition.data):
        data = condition.data.manifest
    return ConditionRecord(
        name=condition.name, data=f"{data.name}/{data.split}", shift=condition.shift, category=condition.category,
        corruption=condition.corruption, severity=condition.severity, origin=condition.origin,
        label_set=run.label_set(condition), views=tuple(_views(run, condition)), groups=run.groups(condition),
        geometry=tuple(_geometry(run, condition, model) for model in run.models),
        samples=sets.index((condition.data or run.source).manifest.hash) if sets else None,
    )  # fmt: skip


def _views(run: Run, condition: Condition) -> list[View]:
    outputs = len(run.models[0].classes)
    return [View(view.group, view.label_set, view.answers(outputs)) for view in run.views(condition)]


def _geometry(run: Run, condition: Condition, model: Model) -> tuple[str, str]:
    size = f"{model.preprocess.height}x{model.preprocess.width}"
    own = own_geometry(model) if condition.shift == CLEAN_OWN else IMAGENET
    data = in_words(run.manifest(condition), own)
    jpeg = f"; JPEG {REJPEG}" if condition.rejpeg else ""
    return size, f"{data}{jpeg}; model {size}"


def _samples(run: Run, condition: Condition) -> Samples:
    """Those chosen of the condition's data, in their order."""
    manifest = run.manifest(condition)
    chosen = cache.choose(condition.data or run.source, run.max_samples, run.seed)
    groups = sample_groups.group(manifest, chosen, sample_groups.of(manifest, run.by))
    return Samples(
        tuple(sample.id for sample in chosen), tuple(manifest.classes[sample.label] for sample in chosen),
        tuple(tuple(members) for members in groups.members_NA.tolist()),
    )  # fmt: skip
