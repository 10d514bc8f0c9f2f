"""`vhs evalshift`: accuracy, loss and calibration, clean and shifted."""

from __future__ import annotations

from typing import Annotated

import typer

from vhs import options, output
from vhs.commands.measuring import open_measurement, plan
from vhs.errors import UsageError
from vhs.formats.schemas import CALIBRATION, EVALSHIFT, MCE

Summary = Annotated[
    str | None,
    typer.Option(
        "--summary", metavar="mce", help="Instead of the rows: corruption errors by corruption, category, all."
    ),
]
Calibration = Annotated[
    str | None,
    typer.Option(
        "--calibration", metavar="FILE", help="Confidence bins; - sends them down the pipe instead.  "
        "[default: OUT.calibration.parquet with -o]",
    ),
]  # fmt: skip
NormaliseBy = Annotated[
    str | None,
    typer.Option(
        "--normalise-by", metavar="TABLE", help="Of --summary mce: a shift table of one model, alexnet or none.  "
        "[default: alexnet for 1,000 classes at 224 px, else none]",
    ),
]  # fmt: skip


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
    normalise_by: NormaliseBy = None,
    skip_bad: options.SkipBad = False,
    dry_run: options.DryRun = False,
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
    from vhs.runs import mce
    from vhs.runs.evaluation import evaluate

    if summary not in (None, "mce"):
        raise UsageError(f"--summary {summary}: expected mce.")
    if normalise_by and not summary:
        raise UsageError("--normalise-by: belongs to --summary mce.")
    if summary and calibration:
        raise UsageError("--calibration: has no place beside --summary. Run them apart.")
    instead = calibration == "-"
    main = output.TableOutput(CALIBRATION if instead else MCE if summary else EVALSHIFT, out, form, in_words)
    beside = None if summary else output.companion(CALIBRATION, out, calibration, "calibration")
    check_outputs([out, beside.out if beside else None], models)
    folds: mce.Folds = {}
    parts = []
    with console.progress() as progress:
        run, provenance = open_measurement(
            models, shift, data, console, progress, max_samples=max_samples, seed=seed, tile=tile, device=device,
            threads=threads, precision=precision, skip_bad=skip_bad,
        )  # fmt: skip
        if dry_run:
            return output.write(plan(run, ablating=False).encode())
        for rows, bins in evaluate(run, folds):
            if summary:
                parts.append(rows)
                continue
            main.add(bins if instead else rows)
            if beside:
                beside.add(bins)
    if summary:
        import polars as pl

        table = pl.concat(parts)
        by = mce.normaliser(normalise_by, table, classes=len(run.data.manifest.classes))
        main.add(mce.summarise(table, by, folds))
    if beside:
        beside.finish(provenance)
    main.finish(provenance)
