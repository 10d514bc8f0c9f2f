"""One door to a pruning run, for the command and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vhs.errors import MismatchError
from vhs.formats.places import Place
from vhs.formats.shards import ShardSet
from vhs.measures.ablation_options import Ablation
from vhs.measures.fill_kinds import FILLS, ZERO
from vhs.measures.pruning_options import Pruning
from vhs.progress import Note, Progress, silent, unheard
from vhs.runs import conditions, opening, runtime
from vhs.runs.conditions import CLEAN, Condition

if TYPE_CHECKING:
    import polars as pl

    from vhs.formats.references import Loaded
    from vhs.pruning.bench import Bench


def open_bench(
    model: str | Loaded, data: Place | ShardSet | None, options: opening.Options, asked: Pruning, *,
    choose_on: Sequence[str] = (), table: pl.DataFrame | None = None, progress: Progress = silent,
    note: Note = unheard,
) -> Bench:  # fmt: skip
    """Everything opened and checked, nothing measured.

    table: folds rows to order by. Raises UsageError, InputError or MismatchError for what cannot be or does not fit.
    """
    chosen = conditions.parse(choose_on)
    chosen = chosen[1:] if choose_on and CLEAN not in choose_on else chosen
    runtime.check(options.device, options.precision, options.tile)
    from vhs.formats import references, specs
    from vhs.pruning.bench import Bench

    device = runtime.prepare(options.device, options.threads, options.precision)
    loaded = references.load(model, device, options.precision) if isinstance(model, str) else model
    _ = loaded.model.engine  # raises for a model without heads
    specs.of(loaded.model.name, loaded, "prune")
    fill = ZERO if asked.fill.kind == "zero" else FILLS["mean-flat"]
    run = opening.open_named(
        [loaded], data, replace(options, ablation=Ablation(fills=(fill,))), progress=progress, note=note
    )
    if run.data.manifest.regression:
        raise MismatchError(f"{run.source.folder}: has targets; heads are pruned by accuracy, of models of classes.")
    bench = Bench(
        loaded=replace(loaded, model=run.models[0]), run=run, asked=asked, choose_on=chosen, table=table,
        counted=_counted(run.conditions, options.shift),
    )  # fmt: skip
    if bench.pruner.left_alone:
        note(f"{loaded.model.name}: {bench.pruner.left_alone}; its heads stay")
    return bench


def _counted(found: Sequence[Condition], named: Sequence[str]) -> list[Condition]:
    """What means and certificates are of: the shifts that were named; clean where it was, or where nothing else is."""
    shifted = [condition for condition in found if condition.shift != CLEAN]
    return list(found) if CLEAN in named or not shifted else shifted
