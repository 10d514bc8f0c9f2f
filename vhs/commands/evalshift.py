"""`vhs evalshift`: accuracy, loss and calibration, clean and shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vhs import options, output
from vhs.commands import summarising
from vhs.commands.measuring import keeping, open_measurement, plan
from vhs.errors import UsageError
from vhs.formats.schemas import CALIBRATION, EVALSHIFT, Schema

if TYPE_CHECKING:
    from polars import DataFrame

    from vhs.runs.run import Run
    from vhs.summaries.mce import Folds

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
    no_verify: options.NoVerify = False,
    resume: options.Resume = False,
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

    asked = summarising.schema(summary, normalise_by)
    if asked and calibration:
        raise UsageError("--calibration: has no place beside --summary. Run them apart.")
    instead = calibration == "-"
    main = output.TableOutput(CALIBRATION if instead else asked or EVALSHIFT, out, form, in_words)
    beside = None if asked else output.companion(CALIBRATION, out, calibration, "calibration")
    check_outputs([out, beside.out if beside else None], models)
    kept = keeping(out, console, resume=resume, new_tile=tile is not None, dry_run=dry_run)
    with kept as keep, console.progress() as progress:
        run, provenance = open_measurement(
            models, shift, data, console, progress, max_samples=max_samples, seed=seed, tile=tile, device=device,
            threads=threads, precision=precision, skip_bad=skip_bad, no_verify=no_verify, by=by, rejpeg=rejpeg,
        )  # fmt: skip
        if dry_run:
            progress.end()
            return output.write(plan(run, ablating=False).encode())
        from vhs.runs.evaluation import evaluate

        folds: Folds = {}
        parts = []
        for rows, bins in evaluate(run, folds, keep):
            if asked:
                parts.append(rows)
                continue
            main.add(bins if instead else rows)
            if beside and len(bins):
                beside.add(bins)
        if asked:
            main.add(_summary(asked, run, parts, folds, normalise_by))
        progress.end()
        output.finish(main, beside, provenance=provenance)
        keep.discard()


def _summary(
    asked: Schema, run: Run, parts: list[DataFrame], folds: Folds, normalise_by: str | None
) -> DataFrame:  # fmt: skip
    """The summary of all conditions."""
    import polars as pl

    manifest = run.data.manifest
    return summarising.summarise(
        asked, pl.concat(parts), normalise_by, classes=len(manifest.classes), folds=folds,
        shares=manifest.extra.get("train_groups"),
    )  # fmt: skip
