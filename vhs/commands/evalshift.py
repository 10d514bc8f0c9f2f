"""`vhs evalshift`: accuracy, loss and calibration, clean and shifted."""

from __future__ import annotations

from vhs import options, output
from vhs.commands.measuring import open_measurement, plan
from vhs.formats.schemas import EVALSHIFT


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
    skip_bad: options.SkipBad = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Measure top-1, top-5, loss and calibration under each condition, with intervals.

    Example: vhs evalshift vit.safetensors --shift imagenet-c | vhs plot -o curves.png

    Example: vhs evalshift runs/*.safetensors --shift gaussian_noise --shift contrast:5 -o shift.csv
    """
    console = options.console("evalshift", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures.terminal import summary
    from vhs.formats.atomic import check_outputs
    from vhs.runs.evaluation import evaluate

    main = output.TableOutput(EVALSHIFT, out, form, summary)
    check_outputs([out], models)
    with console.progress() as progress:
        run, provenance = open_measurement(
            models, shift, data, console, progress, max_samples=max_samples, seed=seed, tile=tile, device=device,
            threads=threads, precision=precision, skip_bad=skip_bad,
        )  # fmt: skip
        if dry_run:
            return output.write(plan(run, ablating=False).encode())
        for rows in evaluate(run):
            main.add(rows)
    main.finish(provenance)
