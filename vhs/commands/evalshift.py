"""`vhs evalshift`: accuracy, loss and calibration, clean and shifted."""

from __future__ import annotations

from typing import Annotated

import typer

from vhs import completion, options, output
from vhs.commands import sharing
from vhs.errors import UsageError
from vhs.formats.schemas import CALIBRATION, EVALSHIFT

Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration", metavar="FILE", help="Confidence bins; - sends them down the pipe instead.  "
        "[default: OUT.calibration.parquet with -o]",
    ),
]  # fmt: skip

Rejpeg = Annotated[
    bool,
    typer.Option("--rejpeg", help="Store made images as JPEG 85 first, as ImageNet-C's files are; adds clean_c."),
]


Summary = Annotated[
    str | None,
    typer.Option(
        "--summary",
        metavar="mce|groups",
        autocompletion=completion.words(options.OF_SHIFT),
        help="Instead of the rows: corruption errors (by corruption, category, all), "
        "or the worst group and averages over groups.",
    ),
]


def evalshift(
    models: options.Models,
    shift: options.Shifts = None,
    data: options.Data = None,
    out: options.Out = None,
    form: options.Format = None,
    max_samples: options.MaxSamples = None,
    seed: options.Seed = 0,
    tile: options.Tile = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    precision: options.Precision = "float32",
    calibration: Calibration = None,
    summary: Summary = None,
    normalise_by: options.NormaliseBy = None,
    by: options.By = None,
    rejpeg: Rejpeg = False,
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
    """Measure top-1, top-5, loss and calibration under each condition, with intervals.

    Example: vhs evalshift vit.safetensors --shift imagenet-c | vhs plot -o curves.png

    Example: vhs evalshift vit.safetensors --shift imagenet-c --summary mce --normalise-by baseline.csv

    Example: vhs evalshift runs/*.safetensors --shift gaussian_noise --shift contrast:5 -o shift.csv
    """
    console = options.console("evalshift", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures.terminal import summary as in_words
    from vhs.formats.atomic import check_outputs
    from vhs.runs import journal, opening
    from vhs.summary import Asked, of

    share = sharing.parse(part, sbatch, out, {"calibration": calibration, "format": form}, dry_run=dry_run)
    wanted = Asked(summary=summary, normalise_by=normalise_by).check(of_shift=True)
    if summary and calibration:
        raise UsageError("--calibration: has no place beside --summary. Run them apart.")
    asked = opening.Options(
        shift=shift or [], rejpeg=rejpeg, by=by, max_samples=max_samples, seed=seed, tile=tile, device=device,
        threads=threads, precision=precision, skip_bad=skip_bad, verify=not no_verify, part=share,
    )  # fmt: skip
    instead = calibration == "-"
    schema = of(wanted).schema if summary else CALIBRATION if instead else EVALSHIFT
    main = output.TableOutput(schema, out, "csv" if share else form, in_words)
    beside = None if summary or share else output.companion(CALIBRATION, out, calibration, "calibration")
    check_outputs([out, beside.out if beside else None], models)
    kept = journal.keep(out, resume=resume, new_tile=tile is not None, dry_run=dry_run, note=console.note)
    with kept as keep, console.progress() as progress:
        run = opening.open_named(models, data, asked, progress=progress, note=console.note)
        console.detail(run.in_words())
        if dry_run:
            progress.end()
            return sharing.plan(run, out, sbatch, ablating=False)
        from vhs.records.evaluation import summary_of
        from vhs.runs import evaluation

        measured = evaluation.measure(run, keep)
        if share is not None and out is not None:
            made_of_all = {"summary": summary, "normalise_by": normalise_by} if summary else {}
            content = sharing.collect(measured, run, out, keep, made_of_all)
            progress.end()
            return sharing.write(content, out, keep)
        parts = []
        for tables in measured.tables():
            if summary:
                parts.append(tables)
                continue
            main.add(tables.bins if instead else tables.rows)
            if beside and len(tables.bins):
                beside.add(tables.bins)
        if summary:
            main.add(summary_of(measured.record, parts, wanted))
        progress.end()
        output.finish(main, beside, provenance={"command": output.command_line()} | run.provenance())
        keep.discard()
