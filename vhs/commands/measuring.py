"""What the measuring commands (ablate, evalshift, specialize) begin with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs.console import Console, ProgressBar
from vhs.errors import UsageError

if TYPE_CHECKING:
    from vhs.runs.run import Run


def open_measurement(
    models: list[str], shift: list[str] | None, data: Path | None, console: Console, progress: ProgressBar, *,
    max_samples: int | None, seed: int, tile: int | None, device: str, threads: int | None, precision: str,
    skip_bad: bool, by: list[str] | None = None, rejpeg: bool = False,
) -> tuple[Run, dict[str, Any]]:  # fmt: skip
    """Resolve references, conditions and data, and open the run; returns it with its provenance.

    by: attributes to group by; None for all that the data has. Joins the other processes under torchrun.
    """
    from vhs.formats import references
    from vhs.runs import conditions, ranks, runtime
    from vhs.runs.data import resolve
    from vhs.runs.run import open_run

    wanted = conditions.parse(shift or [], rejpeg=rejpeg)
    ranks.start()
    place = runtime.prepare(device, threads, precision)
    names = list(references.expand(models))
    if names.count("-") > 1:
        raise UsageError("-: stdin can be read once only. Name the other models.")
    loaded = [references.load(name, place, precision) for name in names]
    shards = resolve(loaded, data, console.note)
    run = open_run(
        [item.model for item in loaded], shards, wanted, seed=seed, tile=tile, max_samples=max_samples,
        by=by, skip_bad=skip_bad, progress=progress, note=console.note,
    )  # fmt: skip
    console.detail(f"{run.data.total} samples of {shards.folder}, tile {run.tile} x {run.group}, {place}")
    return run, provenance(run)


def provenance(run: Run) -> dict[str, Any]:
    """What a Parquet table records of its making: command line, versions, inputs, options. No clock."""
    return {"command": command_line(sys.argv[1:])} | run.fingerprint()


def command_line(arguments: list[str]) -> str:
    """The command as typed, without credentials in URLs."""
    import re
    import shlex

    return re.sub(r"(\w+://)[^/@\s]+@", r"\1", shlex.join(["vhs", *arguments]))


def plan(run: Run, *, ablating: bool) -> str:
    """What a run would do, for --dry-run."""
    data = run.data.manifest
    lines = [
        f"data        {data.name}/{data.split}, {run.data.total} samples, {run.data.geometry}",
        f"conditions  {len(run.conditions)}: {', '.join(item.name for item in run.conditions[:4])}"
        + (", …" if len(run.conditions) > 4 else ""),
    ]
    for model in run.models:
        heads = len(model.grid)
        passes = run.data.total * len(run.conditions)
        lines.append(f"model       {model.name}: {model.grid.depth} layers, {heads} heads, {passes} intact passes")
        if ablating:
            lines.append(f"            {passes * (heads + 1)} ablated passes, each from its layer on")
    return "\n".join([*lines, f"tile        {run.tile} samples, {run.group} variants at once, {run.device}"]) + "\n"
