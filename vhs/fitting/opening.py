"""One door to a training run, for the command and for notebooks: what was asked for goes in, a plan comes out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vhs.errors import InputError, MismatchError, UsageError, VhsError, check_range, choices
from vhs.formats import shards as sets
from vhs.formats.atomic import check_outputs
from vhs.formats.places import Place
from vhs.formats.tables import format_of
from vhs.progress import Note, Progress, silent, unheard
from vhs.training.recipe import NAMED, Recipe, from_toml, parse_settings, preset
from vhs.world import is_first, local_ranks

if TYPE_CHECKING:
    from vhs.fitting.training import Training
    from vhs.formats.references import Loaded
    from vhs.formats.shards import ShardSet


@dataclass(frozen=True)
class Plan:
    """What a run will do: checked, nothing begun. log: where the training log goes; init: the model to begin with;
    teacher: on the host; notes: what was made of the options."""

    recipe: Recipe
    train: ShardSet
    val: ShardSet
    out: Path
    log: Path
    snapshots: frozenset[int]
    init: str | None
    teacher: Loaded | None = None
    notes: tuple[str, ...] = ()

    def in_words(self, device: str = "auto") -> str:
        """For --dry-run; raises what the run would raise of its sizes. device: whose time is told."""
        import torch

        from vhs.fitting import cost, likeness, teaching
        from vhs.fitting.start import beginning, preprocess_of
        from vhs.models.building import build, parameter_shapes
        from vhs.models.spec import ViTSpec
        from vhs.training import optimization

        begin = beginning(self.recipe, self.init, self.train, self.val)
        spec, manifest, cpu = begin.spec, self.train.manifest, torch.device("cpu")
        teaching.objective(teaching.Lesson(
            recipe=self.recipe, spec=spec, outputs=manifest.outputs, preprocess=preprocess_of(begin, self.train),
            device=cpu, calibration=lambda: torch.zeros(2, spec.channels, spec.height, spec.width, dtype=torch.uint8),
            regression=manifest.regression, teacher=self.teacher,
        ))  # fmt: skip
        with torch.device("meta"):
            net = build(spec)
            optimization.freeze(net, self.recipe)
        parameters = sum(prod(shape) for shape in parameter_shapes(spec).values())
        sizes = f"{spec.name}, " if not isinstance(spec, ViTSpec) else (
            f"depth {spec.depth}, {spec.heads_in_words} heads of {spec.head_width}, {spec.tokens} tokens, "
        )  # fmt: skip
        taught = ""
        if self.teacher is not None:
            taught = f"teacher  {self.teacher.model.name}: {self.recipe.distill}\n"
        lines = (*self.notes, *likeness.notes(self.recipe, spec, self.teacher))
        taught += "".join(f"note     {line}\n" for line in lines)
        per_epoch = self.recipe.updates_per_epoch(self.train.manifest.samples)
        epochs, batch = self.recipe.epochs, min(self.recipe.batch, self.train.manifest.samples)
        took = cost.in_words(
            net,
            (spec.channels, spec.height, spec.width),
            epochs * per_epoch * batch,
            teacher=self.teacher,
            device=device,
        )
        return (
            f"data     {self.train.manifest.samples} samples of {self.train.folder}, {self.val.manifest.samples} to "
            f"validate\nmodel    {sizes}{parameters:,} parameters{f', from {self.init}' if self.init else ''}\n"
            f"{taught}updates  {epochs * per_epoch}: {epochs} epochs of {per_epoch}, {batch} samples each\n{took}"
            f"writes   {self.out}\n"
        )


class Stop(Protocol):
    """Entered while updates are made, and asked after each; a true answer saves the state and ends the run."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...

    def __call__(self) -> bool: ...


class NoStop:
    """For runs that nobody stops in between."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class Means:
    """How a run is carried out, as typed: what decides its weights by rounding and time alone.

    workers: processes that read images.
    """

    device: str = "auto"
    threads: int | None = None
    minutes: float | None = None
    workers: int | None = None
    compiled: bool = False
    skip_bad: bool = False
    track: str | None = None
    resume: bool = False
    stop: Stop = field(default_factory=NoStop)


def recipe_of(name: str | None, flags: Mapping[str, object], settings: Sequence[str] = ()) -> Recipe:
    """Defaults, then the recipe, then flags, then settings (`key=value`). name: of NAMED, or of a TOML file."""
    if name is None or name in NAMED:
        resolved = preset(name or "demo")
    else:
        try:
            resolved = from_toml(Path(name).read_bytes(), name)
        except OSError as error:
            raise InputError(f"{name}: {error.strerror}. Name a TOML recipe, or {choices(NAMED)}.") from error
    given = {key: value for key, value in flags.items() if value is not None}
    return resolved.with_values(given, "train").with_values(parse_settings(list(settings)), "--set")


def plan_of(
    shards: Place, recipe: Recipe, out: Path | None, *, val: Place | None = None, log: Path | None = None,
    snapshots: str | None = None, init: str | None = None, teacher: str | Loaded | None = None,
    like_teacher: bool = False,
) -> Plan:  # fmt: skip
    """The data and the outputs, checked. Raises UsageError, InputError or MismatchError for what does not go.

    like_teacher: whether the recipe gets the teacher's parts.
    """
    if out is None or out == Path("-"):
        raise UsageError("names no output file. Add -o CKPT.safetensors.")
    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: expected a name that ends in .safetensors.")
    log_file = log or out.with_suffix(".train.csv")
    format_of(log_file, None)
    check_outputs([out, log_file], [model for model in (init, teacher) if isinstance(model, str)])
    train = sets.pick(shards, lambda manifest: manifest.split == "train", "training")
    if train.manifest.split != "train":
        split = train.manifest.split
        raise MismatchError(f"{shards}: is a {split} split, a train split was expected. `vhs shard --split` names it.")
    val_set = _validation(shards, val, train)
    _check_one_label(train, val_set)
    total = recipe.epochs * recipe.updates_per_epoch(train.manifest.samples)
    steps = parse_snapshots(snapshots, total)
    regression = train.manifest.regression
    recipe, taught, notes = with_teacher(recipe, teacher, init, like_teacher, regression=regression)
    return Plan(recipe, train, val_set, out, log_file, steps, init, taught, notes)


def with_teacher(
    recipe: Recipe, teacher: str | Loaded | None, init: str | None, like_teacher: bool, *, regression: bool = False
) -> tuple[Recipe, Loaded | None, tuple[str, ...]]:
    """The recipe, with the teacher's parts if asked for, the teacher, and what of it was built."""
    if teacher is None and not like_teacher and not recipe.told and not recipe.diversity:
        return recipe, None, ()  # torch is not needed yet
    import torch

    from vhs.fitting import likeness, teaching

    named = teacher if isinstance(teacher, str | None) else teacher.model.name
    teaching.check(recipe, named, regression=regression)
    if like_teacher and (teacher is None or init is not None):
        why = "needs a --teacher" if teacher is None else f"goes with no --init: {init} decides the student's parts"
        raise UsageError(f"--like-teacher: {why}.")
    if teacher is None:
        return recipe, None, ()
    loaded = teaching.load(teacher, torch.device("cpu")) if isinstance(teacher, str) else teaching.copied(teacher)
    if not like_teacher:
        return recipe, loaded, ()
    recipe, built = likeness.like(recipe, loaded)
    return recipe, loaded, (built,)


def train(plan: Plan, means: Means, *, progress: Progress = silent, note: Note = unheard) -> bool:
    """Hold the lock of the checkpoint and train; False when `stop` ended the run with its state saved."""
    from vhs.fitting.finished import already_trained
    from vhs.formats import locks

    check_range("threads", means.threads, 1, 1024)
    check_range("minutes", means.minutes, 0.01)
    check_range("workers", means.workers, 0)

    for line in plan.notes:
        note(line)
    with locks.hold([plan.out], note):
        if means.resume and already_trained(plan.out, plan.recipe, plan.train, plan.val, plan.init, plan.teacher):
            lost = "" if plan.log.exists() else f"; {plan.log} is gone, and only training anew writes it"
            note(f"{plan.out}: is already trained to its end with this recipe on this data{lost}")
            return True
        return _run(_training(plan, means, progress, note), means, note)


def _training(plan: Plan, means: Means, progress: Progress, note: Note) -> Training:
    from vhs.fitting import teaching
    from vhs.fitting.tracking import Tracker
    from vhs.fitting.training import Training
    from vhs.runs import ranks, runtime

    ranks.start()
    device = runtime.prepare(means.device, means.threads, "float32")
    training = Training(
        out=plan.out, train=plan.train, val=plan.val, recipe=plan.recipe, begin=plan.init, device=device,
        teacher=None if plan.teacher is None else teaching.move(plan.teacher, device), workers=_workers(means.workers),
        minutes=means.minutes, skip_bad=means.skip_bad, compiled=means.compiled, snapshots=plan.snapshots,
        stop=means.stop, progress=progress, log_file=plan.log, epoch_done=note,
    )  # fmt: skip
    training.tracker = Tracker(means.track, asdict(plan.recipe), note) if means.track and is_first() else None
    return training


def _run(training: Training, means: Means, note: Note) -> bool:
    """Run to the end or to a stop; the log and the notes are written in any case."""
    from vhs.runs import runtime

    finished = False
    try:
        with means.stop:
            finished = training.run(resuming=means.resume)
        return finished
    except (RuntimeError, MemoryError) as error:
        if not runtime.is_out_of_memory(error):
            raise
        beside = f" beside {training.teacher.model.name}" if training.teacher else ""
        raise VhsError(f"out of memory{beside}. Lower --batch, or run it in parts: --set accumulate=2.") from error
    finally:
        if not finished:  # else it was written before the checkpoint
            training.write_log()
        for message in training.notes:
            note(message)
        if training.tracker:
            training.tracker.finish()


def _workers(asked: int | None) -> int:
    """Of each process: its share of the cores it may use."""
    if asked is not None:
        return asked
    return min(max(len(os.sched_getaffinity(0)) // local_ranks(), 1), 16)


def _check_one_label(*sets_of_it: ShardSet) -> None:
    """Raises MismatchError for samples with several right labels: which one to learn would be our choice."""
    for data in sets_of_it:
        if data.manifest.labels > 1:
            raise MismatchError(
                f"{data.folder}: its samples have up to {data.manifest.labels} right labels; training needs one. Such "
                f"sets are for ablate and evalshift."
            )


def _validation(shards: Place, val: Place | None, training_set: ShardSet) -> ShardSet:
    """The validation set named, or the one of the same name beside the training set."""
    beside = shards.resolve().parent if isinstance(shards, Path) else shards.parent
    folder = val or (shards if training_set.folder != shards else beside)
    name = training_set.manifest.name
    return sets.pick(
        folder, lambda manifest: manifest.split == "val" and (val is not None or manifest.name == name), "validation"
    )


def parse_snapshots(text: str | None, total: int) -> frozenset[int]:
    """Update numbers from `100,200,400`, or powers of two for `log`."""
    if text is None:
        return frozenset()
    if text == "log":
        return frozenset(2**power for power in range(total.bit_length()) if 2**power <= total)
    try:
        steps = frozenset(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--snapshots {text}: expected update numbers such as 100,200, or log.") from None
    if min(steps) < 1 or max(steps) > total:
        raise UsageError(f"--snapshots {text}: the run has updates 1 to {total}.")
    return steps
