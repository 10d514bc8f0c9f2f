"""The specialization run: what every head looks at and writes, and how alike heads are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from vhs.errors import InputError, UsageError, check_range
from vhs.formats.pixels import IMAGENET
from vhs.measures.head_values import Others, Wanted
from vhs.measures.regions import MOST_LEVELS
from vhs.measures.scoring import Scope, View
from vhs.measures.specialization import Specialization
from vhs.models.model import Model
from vhs.records.record import SPECIALIZE, ModelRecord
from vhs.records.specialization import Specialized
from vhs.runs import beside, cache
from vhs.runs.journal import NOTHING_KEPT, Keeping
from vhs.runs.recording import Measured, model_record, record_of
from vhs.runs.run import Run

OTHERS = 8
"""Images whose features and regions stand for those of any image."""


@dataclass(frozen=True)
class Asked:
    """across: whether pairs of heads span layers; regions: whether those of the data are measured; activity: how many
    levels of activity are regions instead, 0 for none; gradients: whether directions of heads' inputs are compared."""

    across: bool = True
    regions: bool = False
    activity: int = 0
    gradients: bool = False

    def __post_init__(self) -> None:
        check_range("activity", self.activity or None, 2, MOST_LEVELS)
        if self.activity and self.regions:
            raise UsageError("--activity and --regions: both name the regions. Drop one of them.")


def specialize(run: Run, keeping: Keeping = NOTHING_KEPT, asked: Asked | None = None) -> Iterator[Specialized]:
    """Yield each finished condition of all models."""
    yield from measure(run, keeping, asked).tables()


def measure(run: Run, keeping: Keeping = NOTHING_KEPT, asked: Asked | None = None) -> Measured:
    """The same before it becomes rows."""
    asked = asked or Asked()
    run = _with_regions(replace(run, twins=True), asked)
    measures = _Measures(_wanted(run, asked))
    views = run.views(run.conditions[0])
    twins = any(condition.made or condition.data for condition in run.conditions)
    models = [measures.listed(model, views, twins=twins) for model in run.models]  # what has no maps is told here
    record = record_of(run, SPECIALIZE, models=models)
    return Measured.of(run, record, measures.make, keeping, {"measure": "specialize"} | asdict(asked))


class _Measures:
    """Measures of the run's models. What there is to measure of one is found out once, by running its network."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._first: dict[tuple[int, bool], Specialization] = {}

    def first(self, model: Model, scope: Scope) -> Specialization:
        """The first measure of a model, with or without images before their shift; it stays empty."""
        key, other = (id(model), scope.twins), (id(model), not scope.twins)
        if key not in self._first:
            self._first[key] = Specialization(model, scope, self._wanted, self._first.get(other))
        return self._first[key]

    def make(self, model: Model, scope: Scope) -> Specialization:
        return Specialization(model, scope, self._wanted, self.first(model, scope))

    def listed(self, model: Model, views: tuple[View, ...], *, twins: bool) -> ModelRecord:
        """The record of a model with what is tallied of it; twins: also of images that are shifted."""
        alone = self.first(model, Scope(views)).listing
        shifted = self.first(model, Scope(views, twins=True)).listing if twins else None
        return replace(model_record(model), listing=alone, shifted=shifted)


def _with_regions(run: Run, asked: Asked) -> Run:
    """Raises InputError where the data has no maps of regions."""
    if not asked.regions:
        return run
    for data in (run.source, *(item.data for item in run.conditions if item.data)):
        if not data.manifest.regions:
            raise InputError(
                f"{data.folder}: has no maps of regions. `vhs shard chirps` makes a set with them; for your own, shard "
                f"it with --region-maps FOLDER."
            )
        if data.manifest.regions != run.source.manifest.regions:
            raise InputError(f"{data.folder}: its regions are not those of {run.source.folder}.")
    moved = next((item.name for item in run.conditions if item.corruption == "patch_shuffle"), None)
    if moved is not None:
        raise UsageError(f"--shift {moved}: moves regions from where their maps have them. Leave it out of --regions.")
    return replace(run, regions=True, data=beside.with_regions(run.data, run.source, IMAGENET))


def _wanted(run: Run, asked: Asked) -> Wanted:
    """With the images that stand for any: the first of the set's nested order, the same on every rank."""
    chosen = cache.choose(run.source, min(OTHERS, run.max_samples or OTHERS), run.seed)
    decoded = cache.decode(run.source, chosen, skip_bad=run.skip_bad)
    if asked.regions:
        decoded = beside.with_regions(decoded, run.source, IMAGENET)
    maps = decoded.beside.regions_NHW
    others = Others(
        decoded.images_NCHW.to(run.device), decoded.keys_N.to(run.device), None if maps is None else maps.to(run.device)
    )  # fmt: skip
    names = run.source.manifest.regions if asked.regions else ()
    return Wanted(others=others, across=asked.across, regions=names, activity=asked.activity, gradients=asked.gradients)
