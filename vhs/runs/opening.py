"""One door to a measuring run, for commands and notebooks: what was asked for goes in, an opened run comes out.

Importing this does not import torch, and what needs no torch is checked before it is imported: a mistyped shift is
answered in under a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vhs.errors import MismatchError, UsageError, check_range
from vhs.formats import reference_names
from vhs.formats import shards as sets
from vhs.formats.places import Place
from vhs.formats.shards import ShardSet
from vhs.measures.ablation_options import HEADS_BY_ZEROS, Ablation
from vhs.progress import Note, Progress, silent, unheard
from vhs.runs import conditions, runtime
from vhs.runs.conditions import CLEAN_OWN, Condition
from vhs.world import WHOLE, Part

if TYPE_CHECKING:
    import torch

    from vhs.formats.references import Loaded
    from vhs.models.model import Model
    from vhs.runs.cache import Decoded
    from vhs.runs.run import Run


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the measuring commands, as they are typed.

    by: attributes to group samples by, None for all that the data has; verify: whether the data is compared with its
    hashes; half_width: of an interval, for a run that takes as many samples as that needs; part: which of several jobs
    on one run this is, None for the whole.
    """

    shift: Sequence[str] = ()
    rejpeg: bool = False
    by: Sequence[str] | None = ()
    max_samples: int | None = None
    half_width: float | None = None
    seed: int = 0
    tile: int | None = None
    device: str = "auto"
    threads: int | None = None
    precision: str = "float32"
    compiled: bool = False
    skip_bad: bool = False
    verify: bool = True
    ablation: Ablation = HEADS_BY_ZEROS
    fill_data: Place | ShardSet | None = None
    part: Part | None = None


def open_named(
    models: Sequence[str | Loaded], data: Place | ShardSet | None, asked: Options, *, progress: Progress = silent,
    note: Note = unheard,
) -> Run:  # fmt: skip
    """The run that was asked for, ready to be swept; joins the other processes under torchrun.

    models: references, or models that are loaded; data: None is the validation split that the first model records.
    Raises UsageError, InputError or MismatchError for what cannot be or does not fit.
    """
    runtime.check(asked.device, asked.precision, asked.tile)
    check_range("half_width", asked.half_width, 1e-4, 0.5)
    check_range("threads", asked.threads, 1, 1024)
    if asked.half_width is not None and asked.part is not None:
        raise UsageError("--half-width: cannot be added up from parts. Name --max-samples instead.")
    wanted = [_trust(item, asked) for item in conditions.parse(asked.shift, rejpeg=asked.rejpeg)]
    named = _resolve(models)
    if isinstance(data, Path):  # what lies elsewhere is asked for once only
        sets.pick(data, lambda manifest: manifest.split == "val", "validation")
    return _open(named, data, wanted, asked, progress, note)


def _resolve(models: Sequence[str | Loaded]) -> list[str | Loaded]:
    """The models, `@FILE` being the references in it."""
    texts = [model for model in models if isinstance(model, str)]
    if len(texts) == len(models):
        return list(reference_names.resolve(texts))
    return [found for model in models for found in (_resolve([model]) if isinstance(model, str) else [model])]


def _trust(condition: Condition, asked: Options) -> Condition:
    """With its data read without comparing hashes, where that was asked for."""
    if condition.data is None or asked.verify:
        return condition
    return replace(condition, data=replace(condition.data, verify=False))


def _open(
    models: list[str | Loaded], data: Place | ShardSet | None, wanted: list[Condition], asked: Options,
    progress: Progress, note: Note,
) -> Run:  # fmt: skip
    from vhs.runs import data as places
    from vhs.runs import fill_images, ranks, remarks, sizing

    ranks.start()
    device = runtime.prepare(asked.device, asked.threads, asked.precision)
    loaded = [_load(model, device, asked) for model in models]
    source = places.resolve(loaded, data, note)
    run = open_run(
        [item.model for item in loaded], source if asked.verify else replace(source, verify=False), wanted,
        seed=asked.seed, tile=asked.tile, max_samples=asked.max_samples, by=asked.by, skip_bad=asked.skip_bad,
        ablation=asked.ablation, part=asked.part or WHOLE, progress=progress, note=note,
    )  # fmt: skip
    for message in remarks.costs(run):
        note(message)
    _check_fills(run)
    if any(kind.bank for kind in run.ablation.fills):
        images = places.resolve(loaded, asked.fill_data, note, split="train")
        scored = fill_images.Scored(run.source, run.max_samples, run.seed, run.data, run.part)
        run = replace(run, fill_images=fill_images.collect(images, scored, skip_bad=run.skip_bad, note=note))
    return sizing.size_to(run, asked.half_width) if asked.half_width is not None else run


def _load(model: str | Loaded, device: torch.device, asked: Options) -> Loaded:
    from vhs.formats import references
    from vhs.models import prefix

    loaded = references.load(model, device, asked.precision) if isinstance(model, str) else model
    return replace(loaded, model=replace(loaded.model, kernels=prefix.compile_kernels())) if asked.compiled else loaded


def _check_fills(run: Run) -> None:
    """Raises UsageError or MismatchError for a fill that these data or models cannot have."""
    from vhs.measures.routes import Routes

    stored = next((condition.name for condition in run.conditions if condition.data), None)
    for kind in run.ablation.fills:
        if kind.twin and (stored or run.data.manifest.targets):
            raise UsageError(
                f"--fill {kind.name}: needs shifts made on the fly from classified images, {stored} is not."
            )
    if any(kind.values for kind in run.ablation.fills):
        for model in run.models:
            Routes(model)


def open_run(
    models: Sequence[Model], data: ShardSet, conditions: Sequence[Condition], *, seed: int = 0,
    tile: int | None = None, max_samples: int | None = None, by: Sequence[str] | None = (), skip_bad: bool = False,
    ablation: Ablation = HEADS_BY_ZEROS, part: Part = WHOLE, progress: Progress = silent, note: Note = unheard,
) -> Run:  # fmt: skip
    """Check that models and data fit, fix the tile, and decode the data; arguments as in Options.

    Raises MismatchError for a model that lacks one of the data's classes.
    """
    from vhs.runs import cache, sample_groups, scopes
    from vhs.runs.run import Run

    if by is None:
        by = () if data.manifest.targets else data.manifest.groups
    models = [scopes.with_names(model, data, note) for model in models]
    sample_groups.check(data.manifest, by)
    scopes.check_classes(data, models)
    odd = next((model for model in models if model.classes != models[0].classes), None)
    if odd is not None:
        raise MismatchError(
            f"{odd.name}: has other classes than {models[0].name}, or in another order. Run them one at a time."
        )
    if len({model.precision for model in models}) > 1:
        raise UsageError("the models were loaded in different precisions. Load them in one.")
    if len({model.device for model in models}) > 1:
        raise UsageError("the models are on different devices. Load them on one.")
    runtime.set_precision(models[0].precision)
    samples = cache.choose(data, max_samples, seed)
    fixed, stack = runtime.fit(models, len(samples), tile)
    decoded = cache.decode(data, samples, tile=fixed, by=by, skip_bad=skip_bad, progress=progress, part=part)
    _check_images(decoded, conditions)
    run = Run(
        models=models, source=data, data=decoded, conditions=conditions, seed=seed, tile=fixed, stack=stack,
        max_samples=max_samples, by=by, skip_bad=skip_bad, ablation=ablation, part=part, progress=progress, note=note,
    )  # fmt: skip
    run = _begin(run, may_shrink=tile is None)
    run.note_skipped(run.data)
    return run


def _begin(run: Run, *, may_shrink: bool) -> Run:
    """The run after its remarks, for which each model runs once; on a smaller tile where memory does not hold it."""
    from vhs.runs import remarks

    try:
        for message in (*remarks.shares(run), *remarks.geometry(run), *remarks.unsteady(run)):
            run.note(message)
        return run
    except (RuntimeError, MemoryError) as error:
        less = runtime.smaller(run.tile)
        if not may_shrink or less is None or not runtime.is_out_of_memory(error):
            raise
        run.note(f"a tile of {run.tile} x {run.stack} does not fit the memory; trying {less}")
        return _begin(run.decode_again(tile=less), may_shrink=False)


def _check_images(data: Decoded, conditions: Sequence[Condition]) -> None:
    """Raises MismatchError for images that are too small for a corruption, UsageError for a transform they have not."""
    from vhs.shifts.corruption import MIN_SIDE

    height, width = data.images_NCHW.shape[-2:]
    made = next((item.name for item in conditions if item.corruption and item.data is None), None)
    if made and min(height, width) < MIN_SIDE:
        raise MismatchError(
            f"{data.manifest.name}: images of {height}x{width} px, {made} needs {MIN_SIDE} px or more. "
            f"Shard larger images."
        )
    if data.manifest.height is not None and any(item.shift == CLEAN_OWN for item in conditions):
        raise UsageError(
            "--shift clean_own: the images all have one size, at which they are used; it is for photographs."
        )
