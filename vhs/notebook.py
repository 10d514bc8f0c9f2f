"""The commands as functions, through the same doors: the same options, checks and numbers, with polars frames back.

A model is a reference as on the command line, or what `load_model` gives; data is the folder of a shard set, or what
`open_shards` gives. Errors are VhsError, in the words of Python. Options mean what docs/cli.md says of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from torch import Tensor

from vhs import accepted, notebook_parts
from vhs import summary as summaries
from vhs.accepted import Ablated, Data, Models, Names, Shifted, Specialized
from vhs.arms.table import Study
from vhs.console import spoken
from vhs.errors import UsageError
from vhs.fitting import opening as fitting
from vhs.formats import places, references, schemas, shards
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet
from vhs.formats.tables import frame
from vhs.measures import ablation_options
from vhs.notebook_figures import behind, plot, report
from vhs.notebook_heads import head_outputs, match, probe, without_heads
from vhs.notebook_maps import maps, read_maps
from vhs.notebook_parts import merge
from vhs.notebook_pruning import prune
from vhs.progress import Progress
from vhs.records.evaluation import summary_of
from vhs.runs import ablation, cache, evaluation, runtime
from vhs.runs.opening import Options
from vhs.sources import packing
from vhs.viewing import specialization

__all__ = [
    "ablate", "behind", "compare", "evalshift", "head_outputs", "load_model", "maps", "match", "merge", "open_shards",
    "plot", "probe", "prune", "read_images", "read_maps", "report", "shard", "specialize", "train", "without_heads",
]  # fmt: skip


def open_shards(folder: str | Path, split: str = "val") -> ShardSet:
    """The shard set in `folder`, or the one of this split below it. Raises InputError."""
    with spoken():
        return shards.pick(places.parse(folder), lambda manifest: manifest.split == split, split)


def read_images(data: Data, *, max_samples: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(uint8 [N, C, H, W] at the evaluation geometry, labels int64 [N]) of a shard set, or of a part of each class."""
    with spoken():
        source = data if isinstance(data, ShardSet) else open_shards(data or "shards")
        decoded = cache.decode(source, cache.choose(source, max_samples, seed))
        return decoded.images_NCHW, decoded.labels_N


def load_model(reference: str | Path, *, device: str = "auto", precision: str = "float32") -> Loaded:
    """The model a reference names: a vhs checkpoint, timm:NAME or hf:NAME. Raises InputError."""
    with spoken():
        return references.load(str(reference), runtime.prepare(device, None, precision), precision)


def ablate(
    models: Models, data: Data = None, *, shift: Names = (), unit: str = "head", select: Names = (),
    fill: Names = "zero", fill_data: Data = None, rescale: bool = False, method: str = "exact", by: Names = (),
    per_sample: bool = False, max_samples: int | None = None, half_width: float | None = None, seed: int = 0,
    tile: int | None = None, device: str = "auto", threads: int | None = None, precision: str = "float32",
    compiled: bool = False, skip_bad: bool = False, verify: bool = True, keep: str | Path | None = None,
    resume: bool = False, part: str | None = None,
    progress: Progress | None = None, quiet: bool = False,
) -> Ablated:  # fmt: skip
    """Remove each head in turn and count the answers that change, as `vhs ablate`.

    keep: finished conditions are kept in KEEP.partial, from which resume=True continues, until all are done.
    part: such as "0/4", is measured alone and kept in the file KEEP, for `vhs.merge`; the tables have no rows then.
    device and precision are those of models that are named; loaded ones have theirs.
    """
    with spoken(progress, quiet=quiet) as talk:
        removed = ablation_options.parse(
            unit, accepted.names(select), fill, rescale=rescale, method=method, exact_only=bool(per_sample or by)
        )
        asked = Options(
            shift=accepted.names(shift), by=accepted.names(by), max_samples=max_samples,
            half_width=half_width, seed=seed, tile=tile,
            device=device, threads=threads, precision=precision, compiled=compiled, skip_bad=skip_bad, verify=verify,
            ablation=removed, fill_data=accepted.data(fill_data), part=notebook_parts.share(part, keep),
        )  # fmt: skip
        with notebook_parts.opened(accepted.models(models), data, asked, talk, keep=keep, resume=resume) as (
            run,
            keeping,
        ):
            measured = ablation.measure(run, keeping, outcomes=per_sample)
            if asked.part is not None:
                rows, folds = notebook_parts.write(measured, run, keeping)
                return Ablated(rows, folds, frame(schemas.OUTCOMES, []))
            parts = list(measured.tables())
    return Ablated(*(pl.concat(getattr(part, name) for part in parts) for name in Ablated._fields))


def evalshift(
    models: Models, data: Data = None, *, shift: Names = (), rejpeg: bool = False, by: Names | None = None,
    summary: str | None = None, normalise_by: Any = None, max_samples: int | None = None, seed: int = 0,
    tile: int | None = None, device: str = "auto", threads: int | None = None, precision: str = "float32",
    skip_bad: bool = False, verify: bool = True, keep: str | Path | None = None, resume: bool = False,
    part: str | None = None, progress: Progress | None = None, quiet: bool = False,
) -> Shifted:  # fmt: skip
    """Accuracy, loss and calibration under each condition, as `vhs evalshift`; by: None for all groups of the data."""
    with spoken(progress, quiet=quiet) as talk:
        wanted = summaries.Asked(summary=summary, normalise_by=normalise_by).check(of_shift=True)
        asked = Options(
            shift=accepted.names(shift), rejpeg=rejpeg,
            by=None if by is None else accepted.names(by), max_samples=max_samples,
            seed=seed, tile=tile, device=device, threads=threads, precision=precision, skip_bad=skip_bad,
            verify=verify, part=notebook_parts.share(part, keep),
        )  # fmt: skip
        with notebook_parts.opened(accepted.models(models), data, asked, talk, keep=keep, resume=resume) as (
            run,
            keeping,
        ):
            measured = evaluation.measure(run, keeping)
            if asked.part is not None:
                whole = notebook_parts.asked_of(summary, normalise_by)
                return Shifted(*notebook_parts.write(measured, run, keeping, whole))
            parts = list(measured.tables())
            rows = pl.concat(part.rows for part in parts)
            if summary is not None:
                rows = summary_of(measured.record, parts, wanted)
    return Shifted(rows, pl.concat(part.bins for part in parts))


def specialize(
    models: Models, data: Data = None, *, shift: Names = (), within_layer: bool = False,
    regions: bool = False, activity: int = 0, gradients: bool = False, max_samples: int | None = None, seed: int = 0,
    tile: int | None = None, device: str = "auto", threads: int | None = None, precision: str = "float32",
    skip_bad: bool = False, verify: bool = True, keep: str | Path | None = None, resume: bool = False,
    part: str | None = None, progress: Progress | None = None, quiet: bool = False,
) -> Specialized:  # fmt: skip
    """What every head looks at and writes, and how alike heads are, as `vhs specialize`."""
    with spoken(progress, quiet=quiet) as talk:
        wanted = specialization.Asked(across=not within_layer, regions=regions, activity=activity, gradients=gradients)
        asked = Options(
            shift=accepted.names(shift), max_samples=max_samples, seed=seed, tile=tile, device=device, threads=threads,
            precision=precision, skip_bad=skip_bad, verify=verify, part=notebook_parts.share(part, keep),
        )  # fmt: skip
        with notebook_parts.opened(accepted.models(models), data, asked, talk, keep=keep, resume=resume) as (
            run,
            keeping,
        ):
            measured = specialization.measure(run, keeping, wanted)
            if asked.part is not None:
                return Specialized(*notebook_parts.write(measured, run, keeping))
            parts = list(measured.tables())
    return Specialized(*(pl.concat(getattr(part, name) for part in parts) for name in Specialized._fields))


def compare(
    *sources: Any, summary: str | None = None, scale: Names = (), tolerance: float = 0.005, normalise_by: Any = None,
    baselines: Any = None, against: Any = None, exact: Any = None, attributes: Names = (),
    group_by: str | None = None, reference: str | None = None, effect: Names = (), what: Names = (),
    condition: Names = (), choose_by: Any = None,
    across: str | None = None, paired: bool = False, seed: int = 0, progress: Progress | None = None,
    quiet: bool = False,
) -> pl.DataFrame:  # fmt: skip
    """Do the same heads matter there? As `vhs compare`.

    sources: frames, files, or what `ablate`, `evalshift` and `specialize` gave; folds, shift or heads tables, as each
    summary takes them (docs/cli.md). baselines: of published models, a frame or a file, for `effective`.
    """
    with spoken(progress, quiet=quiet) as talk:
        if not sources:
            raise UsageError("names no table. Give frames, files, or what ablate, evalshift and specialize gave.")
        asked = summaries.Asked(
            summary=summary, scales=accepted.names(scale),
            tolerance=tolerance, normalise_by=normalise_by, baselines=baselines, against=against,
            exact=exact, seed=seed, attributes=accepted.names(attributes),
            study=Study(
                group_by=group_by, reference=reference, effects=tuple(accepted.names(effect)),
                what=tuple(accepted.names(what)), conditions=tuple(accepted.names(condition)),
                choose_by=choose_by, across=across, paired=paired,
            ),
        ).check()  # fmt: skip
        folds = summaries.of(asked).takes_folds
        found = [accepted.source(source, folds=folds) for source in sources]
        return summaries.summarise(found, asked, accepted.table, talk.progress)


def train(
    data: str | Path, out: str | Path, *, recipe: str | None = None, settings: Mapping[str, Any] | None = None,
    val: str | Path | None = None, log: str | Path | None = None, init: str | Path | None = None,
    teacher: Loaded | str | Path | None = None, like_teacher: bool = False,
    snapshots: str | None = None, minutes: float | None = None, device: str = "auto", threads: int | None = None,
    workers: int | None = None, compiled: bool = False, skip_bad: bool = False, track: str | None = None,
    resume: bool = False, progress: Progress | None = None, quiet: bool = False,
) -> Loaded:  # fmt: skip
    """Train a model and write its checkpoint to `out` and its log beside it, as `vhs train`.

    settings: recipe keys and their values, such as {"depth": 4, "lr": 0.001}.
    """
    with spoken(progress, quiet=quiet) as talk:
        resolved = fitting.recipe_of(recipe, dict(settings or {}))
        plan = fitting.plan_of(
            places.parse(data), resolved, Path(out), val=accepted.place(val), log=accepted.path(log),
            snapshots=snapshots, init=None if init is None else str(init), like_teacher=like_teacher,
            teacher=teacher if isinstance(teacher, Loaded | None) else str(teacher),
        )  # fmt: skip
        means = fitting.Means(
            device=device, threads=threads, minutes=minutes, workers=workers, compiled=compiled, skip_bad=skip_bad,
            track=track, resume=resume,
        )  # fmt: skip
        fitting.train(plan, means, progress=talk.progress, note=talk.note)
    return load_model(out, device=device)


def shard(
    source: str | Path, out: str | Path, *, layout: str | None = None, split: str | None = None,
    columns: str | None = None, classes: Sequence[str] | None = None, per_class: int | None = None,
    base: str | Path | None = None, per_tar: int = packing.PER_TAR, top: str | None = None, bottom: str | None = None,
    pairs: str | None = None, correlation: float = 1.0, test_correlation: float = 1.0, val_share: float = 0.5,
    count: int = 2000, side: int = 128, distort: str = packing.DISTORT, region_maps: str | Path | None = None,
    region_names: Sequence[str] | None = None, class_map: str | Path | None = None, superclasses: bool = False,
    attributes: str | Path | None = None, attribute_columns: Sequence[str] | None = None, label: str | None = None,
    class_names: str | Path | None = None, in_place: bool = False, seed: int = 0, skip_bad: bool = False,
    follow_links: bool = False,
    progress: Progress | None = None, quiet: bool = False,
) -> list[ShardSet]:  # fmt: skip
    """Pack images into shard sets below `out`, as `vhs shard`; what is there and sound is kept."""
    with spoken(progress, quiet=quiet) as talk:
        asked = packing.Asked(
            layout=layout, split=split, columns=columns, classes=classes, per_class=per_class,
            base=accepted.place(base), per_tar=per_tar, top=top, bottom=bottom, pairs=pairs, correlation=correlation,
            test_correlation=test_correlation, val_share=val_share, count=count, side=side, distort=distort, seed=seed,
            skip_bad=skip_bad, follow_links=follow_links,
            region_maps=accepted.path(region_maps), region_names=region_names,
            class_map=None if class_map is None else str(class_map), superclasses=superclasses,
            attributes=accepted.path(attributes), attribute_columns=attribute_columns, label=label,
            class_names=None if class_names is None else str(class_names), in_place=in_place,
        )  # fmt: skip
        return packing.pack(str(source), Path(out), asked, progress=talk.progress, note=talk.note)
