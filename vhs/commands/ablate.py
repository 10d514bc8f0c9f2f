"""`vhs ablate`: remove every head, under every condition, and count what changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vhs import completion, options, output
from vhs.commands.measuring import keeping, open_measurement, plan
from vhs.errors import UsageError, choices
from vhs.formats.schemas import ABLATE, FOLDS, OUTCOMES
from vhs.grid import UNITS
from vhs.measures.fill_kinds import FILLS

METHODS = ("exact", "taylor", "direct")

Folds = Annotated[
    str | None,
    typer.Option(
        "--folds", metavar="FILE", help="Tallies by fold; - sends them down the pipe instead of the table.  "
        "[default: OUT.folds.parquet with -o]",
    ),
]  # fmt: skip
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="METHOD",
        autocompletion=completion.words(METHODS),
        help="exact; or estimates: taylor (one backward pass), direct (what a head gives the logits).",
    ),
]
UnitKind = Annotated[
    str,
    typer.Option(
        "--unit", metavar="UNIT", autocompletion=completion.words(UNITS),
        help="What is removed at once: head, layer (all its heads), only (all others of the layer), pair (two heads of "
        "a layer), or mlp.",
    ),
]  # fmt: skip
Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="HEAD,…",
        help="Instead: remove these heads together (L3H1,L5H0 or 3.1,5.0); again for a further set.",
    ),
]
Rescale = Annotated[
    bool, typer.Option("--rescale", help="Scale the kept heads of the layer by H / kept; with --fill zero.")
]
FillKinds = Annotated[
    str,
    typer.Option(
        "--fill", metavar="FILL,…", autocompletion=completion.listed(FILLS),
        help="What stands in for a head: zero, mean, mean-flat, resample, uniform, mean-map, twin, twin-break.",
    ),
]  # fmt: skip
FillData = Annotated[
    Path | None,
    typer.Option(
        "--fill-data", metavar="DIR", help="Images the fills come from.  [default: the model's training split]"
    ),
]
PerSample = Annotated[
    Path | None, typer.Option("--per-sample", metavar="FILE", help="Whether each sample was answered right, by head.")
]
HalfWidth = Annotated[
    float | None,
    typer.Option(
        "--half-width", metavar="SHARE", min=1e-4, max=0.5, help="Measure only as many samples as give every drop an "
        "interval of this half-width (.01: one point), at least 1,000; p and q stay empty.",
    ),
]  # fmt: skip


def ablate(
    models: options.Models,
    shift: options.Shifts = None,
    data: options.Data = None,
    out: options.Out = None,
    folds: Folds = None,
    per_sample: PerSample = None,
    form: options.Format = None,
    max_samples: options.MaxSamples = None,
    seed: options.Seed = 0,
    tile: options.Tile = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    precision: options.Precision = "float32",
    method: Method = "exact",
    unit: UnitKind = "head",
    select: Select = None,
    rescale: Rescale = False,
    fill: FillKinds = "zero",
    fill_data: FillData = None,
    compiled: options.Compile = False,
    half_width: HalfWidth = None,
    by: options.By = None,
    skip_bad: options.SkipBad = False,
    no_verify: options.NoVerify = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Remove each attention head in turn and count the answers that change, exactly.

    Example: vhs ablate vit.safetensors --shift imagenet-c | vhs plot -o heads.png

    Example: vhs ablate vit.safetensors --shift contrast:3,5 -o heads.csv
    """
    console = options.console("ablate", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures.terminal import summary
    from vhs.formats.atomic import check_outputs

    _check(method, exact_only=bool(folds or per_sample or by or select or rescale or unit != "head"), fill=fill)
    unit = _unit(unit, select or [], fill=fill, rescale=rescale)
    down_the_pipe = folds == "-"
    main = output.TableOutput(FOLDS if down_the_pipe else ABLATE, out, form, None if down_the_pipe else summary)
    tallies = output.companion(FOLDS, out, folds, "folds")
    outcomes = output.TableOutput(OUTCOMES, per_sample, None) if per_sample else None
    products = [("folds" if down_the_pipe else "rows", main), ("folds", tallies), ("outcomes", outcomes)]
    check_outputs([out, per_sample, tallies.out if tallies else None], models)
    kept = keeping(out, console, resume=resume, new_tile=tile is not None, dry_run=dry_run)
    with kept as keep, console.progress() as progress:
        run, provenance = open_measurement(
            models, shift, data, console, progress, max_samples=max_samples, seed=seed, tile=tile, device=device,
            threads=threads, precision=precision, skip_bad=skip_bad, no_verify=no_verify, by=by or [],
            compiled=compiled, half_width=half_width, unit=unit, rescale=rescale, fill=fill, fill_data=fill_data,
        )  # fmt: skip
        if dry_run:
            progress.end()
            return output.write(plan(run, ablating=True).encode())
        from vhs.runs.ablation import ablate as sweep
        from vhs.runs.estimates import estimate

        exact = method == "exact"
        for part in sweep(run, keep, outcomes=outcomes is not None) if exact else estimate(run, method, keep):
            for name, table in products:
                if table and len(getattr(part, name)):
                    table.add(getattr(part, name))
        progress.end()
        output.finish(main, tallies, outcomes, provenance=provenance)
        keep.discard()


def _check(method: str, *, exact_only: bool, fill: str) -> None:
    """Raises UsageError for a method that there is not, or for what only the exact one has."""
    if method not in METHODS:
        raise UsageError(f"--method {method}: expected {choices(METHODS)}.")
    if method != "exact" and (exact_only or "," in fill or "twin" in fill):
        raise UsageError(
            f"--method {method}: is of single heads and one fill, without folds, outcomes, groups and twins."
        )


def _unit(unit: str, select: list[str], *, fill: str, rescale: bool) -> str:
    """The kind of grid.units, or the sets of --select in its words. Raises UsageError for options that do not go."""
    if rescale and fill != "zero":
        raise UsageError(
            f"--rescale: scales what is kept when heads are zeroed; with --fill {fill} nothing is missing."
        )
    if select:
        if unit != "head":
            raise UsageError(f"--select: removes the named heads together; --unit {unit} does not go with it.")
        return " ".join(text.replace(",", "+") for text in select)
    if unit not in UNITS:
        raise UsageError(f"--unit {unit}: expected {choices(UNITS)}.")
    if unit == "mlp" and (fill != "zero" or rescale):
        raise UsageError("--unit mlp: MLPs are removed by zeros, without --fill and --rescale.")
    return unit
