"""Fewer heads, as a function; a part of `vhs.notebook`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from vhs import accepted
from vhs.accepted import Data, Names
from vhs.console import spoken
from vhs.formats import references, tables
from vhs.formats.atomic import write_whole
from vhs.formats.references import Loaded
from vhs.measures import pruning_options
from vhs.progress import Progress
from vhs.pruning import opening as benches
from vhs.runs import journal
from vhs.runs.opening import Options
from vhs.summaries import comparison


class Fewer(NamedTuple):
    """Of `prune`: the prune table, and the smaller model, None where nothing said how far heads go or nothing is
    certified."""

    rows: pl.DataFrame
    model: Loaded | None


def prune(
    model: Loaded | str | Path, data: Data = None, *, tables: Sequence[Any] = (), order: Names = "effect",
    select: str | None = None, keep: int | None = None, flops: float | None = None, tolerance: float | None = None,
    certify: float | None = None, over: str = "worst", confidence: float = 0.95, shift: Names = (),
    choose_on: Names = (), every: int | None = None, again: bool = False, among: str | None = None,
    random_orders: int = 20, fill: str = "zero",
    compensate: bool = False, ridge: float = pruning_options.RIDGE, fill_data: Data = None, speed: bool = False,
    out: str | Path | None = None, max_samples: int | None = None, seed: int = 0, tile: int | None = None,
    device: str = "auto", threads: int | None = None, precision: str = "float32", skip_bad: bool = False,
    verify: bool = True, resume: bool = False, progress: Progress | None = None, quiet: bool = False,
) -> Fewer:  # fmt: skip
    """Take out the heads that are least needed, as `vhs prune`.

    tables: frames of folds, or files, to order by; keep: heads left; out: the file of the smaller model, beside which
    finished conditions are kept, from which resume=True continues. Raises UsageError, InputError or MismatchError.
    """
    with spoken(progress, quiet=quiet) as talk:
        asked = pruning_options.Pruning(
            orders=pruning_options.orders_of(accepted.names(order)), listed=pruning_options.heads_of(select),
            fill=pruning_options.fill_of(fill, compensate=compensate, ridge=ridge), over=over, keep=keep, flops=flops,
            tolerance=tolerance, certify=certify, confidence=confidence, every=every, again=again, random=random_orders,
            speed=speed, among=pruning_options.layers_of(among),
        ).checked(tables=bool(len(tables)), saving=out is not None)  # fmt: skip
        options = Options(
            shift=accepted.names(shift), max_samples=max_samples, seed=seed, tile=tile, device=device, threads=threads,
            precision=precision, skip_bad=skip_bad, verify=verify, fill_data=accepted.data(fill_data),
        )  # fmt: skip
        rows = comparison.read_folds(list(tables), _read) if len(tables) else None
        file = accepted.path(out)
        with journal.keep(file, resume=resume, new_tile=tile is not None, note=talk.note) as keeping:
            bench = benches.open_bench(
                accepted.models(model)[0], accepted.data(data), options, asked, choose_on=accepted.names(choose_on),
                table=rows, progress=talk.progress, note=talk.note,
            )  # fmt: skip
            found = bench.prune(keeping)
            if found.net is None:
                return Fewer(found.rows, None)
            checkpoint = bench.checkpoint(found, file or Path("-"))
            if file is not None:
                write_whole(file, checkpoint)
            keeping.discard()
        name = str(file) if file is not None else f"{bench.model.name} pruned"
        return Fewer(found.rows, references.of_bytes(checkpoint, name, bench.model.device, precision))


def _read(source: Any) -> tables.Table:
    return tables.of_frame(source) if isinstance(source, pl.DataFrame) else tables.read(str(source))
