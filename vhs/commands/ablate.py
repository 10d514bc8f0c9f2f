"""`vhs ablate`: remove every head, under every condition, and count what changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vhs import completion, options, output
from vhs.commands import sharing
from vhs.formats import places
from vhs.formats.schemas import ABLATE, FOLDS, OUTCOMES
from vhs.grid import UNITS
from vhs.measures.ablation_options import METHODS
from vhs.measures.fill_kinds import FILLS

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
        "--fill", metavar="FILL,…", autocompletion=completion.several(FILLS),
        help="What stands in for a head: zero, mean, mean-flat, resample, uniform, mean-map, donor-map, twin, "
        "twin-break.",
    ),
]  # fmt: skip
FillData = Annotated[
    options.Place | None,
    typer.Option(
        "--fill-data", metavar="DIR|URL", parser=places.parse,
        help="Images the fills come from.  [default: the model's training split]",
    ),
]  # fmt: skip
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
    part: options.Part = None,
    dry_run: options.DryRun = False,
    sbatch: options.Sbatch = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Remove each attention head in turn and count the answers that change, exactly.

    Example: vhs ablate vit.safetensors --shift imagenet-c | vhs plot -o heads.png

    Example: vhs ablate vit.safetensors --shift contrast:3,5 -o heads.csv
    """
    console = options.console("ablate", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.formats.atomic import check_outputs
    from vhs.measures import ablation_options
    from vhs.runs import journal, opening

    share = sharing.parse(part, sbatch, out, {"folds": folds, "format": form}, dry_run=dry_run)
    sharing.refuse(share or sbatch, {"half-width": half_width})
    removed = ablation_options.parse(
        unit, select or [], fill, rescale=rescale, method=method, exact_only=bool(folds or per_sample or by)
    )
    asked = opening.Options(
        shift=shift or [], by=by or [], max_samples=max_samples, half_width=half_width, seed=seed, tile=tile,
        device=device, threads=threads, precision=precision, compiled=compiled, skip_bad=skip_bad,
        verify=not no_verify, ablation=removed, fill_data=fill_data, part=share,
    )  # fmt: skip
    products = _products(out, form, folds, per_sample) if share is None else []
    check_outputs([out] if share else [table.out for _, table in products], models)
    kept = journal.keep(out, resume=resume, new_tile=tile is not None, dry_run=dry_run, note=console.note)
    with kept as keep, console.progress() as progress:
        run = opening.open_named(models, data, asked, progress=progress, note=console.note)
        console.detail(run.in_words())
        if dry_run:
            progress.end()
            return sharing.plan(run, out, sbatch, ablating=True)
        from vhs.runs import ablation

        measured = ablation.measure(run, keep, outcomes=per_sample is not None)
        if share is not None and out is not None:
            content = sharing.collect(measured, run, out, keep)
            progress.end()
            return sharing.write(content, out, keep)
        for tables in measured.tables():
            for name, table in products:
                if len(getattr(tables, name)):
                    table.add(getattr(tables, name))
        progress.end()
        main, *beside = (table for _, table in products)
        output.finish(main, *beside, provenance={"command": output.command_line()} | run.provenance())
        keep.discard()


def _products(
    out: Path | None, form: str | None, folds: str | None, per_sample: Path | None
) -> list[tuple[str, output.TableOutput]]:  # fmt: skip
    """What each condition's tables are called, and where they go; the main one first."""
    from vhs.figures.terminal import summary

    down_the_pipe = folds == "-"
    main = output.TableOutput(FOLDS if down_the_pipe else ABLATE, out, form, None if down_the_pipe else summary)
    tallies = output.companion(FOLDS, out, folds, "folds")
    outcomes = output.TableOutput(OUTCOMES, per_sample, None) if per_sample else None
    found = [("folds" if down_the_pipe else "rows", main), ("folds", tallies), ("outcomes", outcomes)]
    return [(name, table) for name, table in found if table]
