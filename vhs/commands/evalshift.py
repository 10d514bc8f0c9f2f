"""`vhs evalshift`: accuracy, loss and calibration, clean and shifted."""

from __future__ import annotations

from typing import Annotated

import typer

from vhs import options, output
from vhs.commands import summarising
from vhs.commands.measuring import open_measurement, plan
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
    summary: summarising.Summary = None,
    normalise_by: summarising.NormaliseBy = None,
    by: options.By = None,
    rejpeg: Rejpeg = False,
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
    from vhs.runs.evaluation import evaluate
    from vhs.runs.mce import Folds

    asked = summarising.schema(summary, normalise_by)
    if asked and calibration:
        raise UsageError("--calibration: has no place beside --summary. Run them apart.")
    instead = calibration == "-"
    main = output.TableOutput(CALIBRATION if instead else asked or EVALSHIFT, out, form, in_words)
    beside = None if asked else output.companion(CALIBRATION, out, calibration, "calibration")
    check_outputs([out, beside.out if beside else None], models)
    folds: Folds = {}
    parts = []
    with console.progress() as progress:
        run, provenance = open_measurement(
            models, shift, data, console, progress, max_samples=max_samples, seed=seed, tile=tile, device=device,
            threads=threads, precision=precision, skip_bad=skip_bad, by=by, rejpeg=rejpeg,
        )  # fmt: skip
        if dry_run:
            return output.write(plan(run, ablating=False).encode())
        for rows, bins in evaluate(run, folds):
            if asked:
                parts.append(rows)
                continue
            main.add(bins if instead else rows)
            if beside and len(bins):
                beside.add(bins)
    if asked:
        import polars as pl

        classes = len(run.data.manifest.classes)
        shares = run.data.manifest.extra.get("train_groups")
        table = pl.concat(parts)
        main.add(summarising.summarise(asked, table, normalise_by, classes=classes, folds=folds, shares=shares))
    if beside:
        beside.finish(provenance)
    main.finish(provenance)
