"""`vhs specialize`: what every head looks at, and how differently heads look."""

from __future__ import annotations

from typing import Annotated

import typer

from vhs import options, output
from vhs.formats.schemas import HEADS, PAIRS

Pairs = Annotated[
    str | None,
    typer.Option(
        "--pairs", metavar="FILE", help="Divergences between heads; - sends them down the pipe instead of the table.  "
        "[default: OUT.pairs.parquet with -o]",
    ),
]  # fmt: skip
Regions = Annotated[
    bool, typer.Option("--regions", help="Also what heads look at of the regions that the data has maps of.")
]
Activity = Annotated[
    int, typer.Option("--activity", metavar="K", help="Take K levels of the model's own attention as regions.")
]
WithinLayer = Annotated[bool, typer.Option("--within-layer", help="Compare only heads of one layer.")]


def specialize(
    models: options.Models,
    shift: options.Shifts = None,
    data: options.Data = None,
    out: options.Out = None,
    pairs: Pairs = None,
    within_layer: WithinLayer = False,
    regions: Regions = False,
    activity: Activity = 0,
    form: options.Format = None,
    max_samples: options.MaxSamples = None,
    seed: options.Seed = 0,
    tile: options.Tile = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    precision: options.Precision = "float32",
    skip_bad: options.SkipBad = False,
    no_verify: options.NoVerify = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Measure attention distance, entropy, class-token mass, and the divergence between heads.

    Example: vhs specialize vit.safetensors | vhs plot -o heads.png

    Example: vhs specialize vit.safetensors --pairs - | vhs plot -o jsd.png
    """
    console = options.console("specialize", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures.terminal import summary
    from vhs.formats.atomic import check_outputs
    from vhs.runs import journal, opening

    instead = pairs == "-"
    main = output.TableOutput(PAIRS if instead else HEADS, out, form, summary)
    beside = output.companion(PAIRS, out, pairs, "pairs")
    check_outputs([out, beside.out if beside else None], models)
    asked = opening.Options(
        shift=shift or [], max_samples=max_samples, seed=seed, tile=tile, device=device, threads=threads,
        precision=precision, skip_bad=skip_bad, verify=not no_verify,
    )  # fmt: skip
    kept = journal.keep(out, resume=resume, new_tile=tile is not None, dry_run=dry_run, note=console.note)
    with kept as keep, console.progress() as progress:
        run = opening.open_named(models, data, asked, progress=progress, note=console.note)
        console.detail(run.in_words())
        if dry_run:
            from vhs.runs import plan

            progress.end()
            return output.write(plan.in_words(run, ablating=False).encode())
        from vhs.runs import specialization

        wanted = specialization.Asked(across=not within_layer, regions=regions, activity=activity)
        for part in specialization.specialize(run, keep, wanted):
            main.add(part.pairs if instead else part.heads)
            if beside:
                beside.add(part.pairs)
        progress.end()
        output.finish(main, beside, provenance={"command": output.command_line()} | run.provenance())
        keep.discard()
