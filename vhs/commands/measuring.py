"""What the measuring commands (ablate, evalshift, specialize) begin with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs.console import Console, ProgressBar
from vhs.errors import Terminated, UsageError

if TYPE_CHECKING:
    from vhs.formats.shards import ShardSet
    from vhs.runs.journal import Keeping
    from vhs.runs.run import Run

UNRECORDED = ("--resume", "-q", "--quiet", "-v", "--verbose", "--debug", "--no-verify")
"""Options that a command line in a table leaves out, so that a resumed run gives the bytes of a plain one."""


@contextmanager
def keeping(
    out: Path | None, console: Console, *, resume: bool, new_tile: bool, dry_run: bool
) -> Iterator[Keeping]:  # fmt: skip
    """Hold the lock of the main output, and say where finished conditions are kept beside it.

    Raises UsageError where there is nothing to resume from, VhsError where another run writes the output.
    """
    from vhs.formats import locks
    from vhs.formats.atomic import is_ordinary
    from vhs.runs.journal import NOTHING_KEPT, Keeping

    file = out if out is not None and is_ordinary(out) else None
    if resume and file is None:
        raise UsageError("--resume: needs -o FILE, beside which finished conditions were kept.")
    if dry_run:
        yield NOTHING_KEPT
        return
    with locks.held([file], console.note):
        try:
            yield Keeping(file, resume, new_tile)
        except (KeyboardInterrupt, Terminated):
            if file:
                console.note(f"stopped; finished conditions are kept in {file}.partial, --resume continues")
            raise


def open_measurement(
    models: list[str], shift: list[str] | None, data: Path | None, console: Console, progress: ProgressBar, *,
    max_samples: int | None, seed: int, tile: int | None, device: str, threads: int | None, precision: str,
    skip_bad: bool, no_verify: bool = False, by: list[str] | None = None, rejpeg: bool = False,
    compiled: bool = False, half_width: float | None = None,
    unit: str = "head", rescale: bool = False, fill: str = "zero", fill_data: Path | None = None,
) -> tuple[Run, dict[str, Any]]:  # fmt: skip
    """Resolve references, conditions and data, and open the run; returns it with its provenance.

    by: attributes to group by; None for all that the data has; no_verify: trust the data without comparing its hashes.
    Joins the other processes under torchrun.
    """
    from vhs.formats import reference_names
    from vhs.formats import shards as sets
    from vhs.measures import fill_kinds
    from vhs.runs import conditions, runtime

    runtime.check(device, precision, tile)
    fills = fill_kinds.parse(fill)
    wanted = conditions.parse(shift or [], rejpeg=rejpeg)
    names = reference_names.resolved(models)
    if data is not None:
        sets.pick(data, lambda manifest: manifest.split == "val", "validation")
    # up to here nothing has imported torch, so that what is mistyped is told at once
    from vhs.formats import references
    from vhs.models import prefix
    from vhs.runs import ranks, remarks
    from vhs.runs.data import resolve
    from vhs.runs.fill_images import calibrated
    from vhs.runs.run import open_run
    from vhs.runs.sizing import sized

    if no_verify:
        wanted = [replace(item, data=trusted(item.data)) if item.data else item for item in wanted]
    ranks.start()
    place = runtime.prepare(device, threads, precision)
    loaded = [references.load(name, place, precision) for name in names]
    if compiled:
        loaded = [replace(item, model=replace(item.model, kernels=prefix.compiled())) for item in loaded]
    shards = resolve(loaded, data, console.note)
    shards = trusted(shards) if no_verify else shards
    run = open_run(
        [item.model for item in loaded], shards, wanted, seed=seed, tile=tile, max_samples=max_samples,
        by=by, skip_bad=skip_bad, progress=progress, note=console.note,
    )  # fmt: skip
    for message in remarks.costs(run, unit):
        console.note(message)
    run = calibrated(replace(run, unit=unit, rescale=rescale), fills, loaded, fill_data, console.note)
    run = sized(run, half_width) if half_width is not None else run
    console.detail(f"{run.data.total} samples of {shards.folder}, tile {run.tile} x {run.group}, {place}")
    return run, provenance(run)


def trusted(data: ShardSet) -> ShardSet:
    """The set, read without comparing its hashes."""
    return replace(data, verify=False)


def provenance(run: Run) -> dict[str, Any]:
    """What a Parquet table records of its making: command line, versions, inputs, options. No clock."""
    ids = {"fill_ids": list(run.calibration.ids)} if run.calibration else {}
    return {"command": command_line(sys.argv[1:])} | run.fingerprint() | ids


def command_line(arguments: list[str]) -> str:
    """The command as typed, without credentials in URLs and without what decides no number."""
    import re
    import shlex

    kept = [argument for argument in arguments if argument not in UNRECORDED]
    return re.sub(r"(\w+://)[^/@\s]+@", r"\1", shlex.join(["vhs", *kept]))


def plan(run: Run, *, ablating: bool) -> str:
    """What a run would do, for --dry-run: passes, FLOPs, memory, about how long, and what it could detect."""
    from vhs.runs.plan import estimate, memory

    data = run.data.manifest
    lines = [
        f"data        {data.name}/{data.split}, {run.data.total} samples, {run.data.geometry}",
        f"conditions  {len(run.conditions)}: {', '.join(item.name for item in run.conditions[:4])}"
        + (", …" if len(run.conditions) > 4 else ""),
    ]
    for model in run.models:
        told = estimate(run, model, ablating=ablating)
        heads = f"{model.grid.depth} layers, {len(model.grid)} heads" if ablating or model.has_heads else "no heads"
        lines.append(f"model       {model.name}: {heads}")
        if told is None:
            lines.append("FLOPs       not counted for this architecture")
            continue
        lines.append(f"passes      {told.intact:,} intact" + (f", {told.ablated:,} from a head on" if ablating else ""))
        lines.append(f"FLOPs       {told.flops:.2e} ({told.share:.0%} of whole passes for every head)" if ablating else
                     f"FLOPs       {told.flops:.2e}")  # fmt: skip
        lines.append(f"time        about {told.duration}, reading and corruptions apart")
        if ablating:
            lines.append(
                f"detects     a drop of {told.detectable:.2%} or more ({told.flips} answers lost, none gained, "
                f"{told.heads} heads at q < 0.05)"
            )
    held, stack = memory(run)
    lines.append(f"memory      about {held:,.0f} MiB of images and {stack:,.0f} MiB a tile")
    return "\n".join([*lines, f"tile        {run.tile} samples, {run.group} variants at once, {run.device}"]) + "\n"
