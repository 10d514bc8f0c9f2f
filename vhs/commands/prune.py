"""`vhs prune`: take out the heads that are least needed, for real, and say what that costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vhs import completion, options, output
from vhs.errors import VhsError
from vhs.formats import places
from vhs.formats.schemas import PRUNE
from vhs.measures.pruning_options import ORDERS, OVER, RANDOM, RIDGE, WEIGHT_FILLS
from vhs.world import is_first

if TYPE_CHECKING:
    from polars import DataFrame

    from vhs.pruning.bench import Bench, Pruned

Reference = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A vhs checkpoint, - for its bytes on stdin, timm:NAME or hf:FOLDER.", show_default=False,
        autocompletion=completion.files(completion.MODELS, ("timm:", "hf:")),
    ),
]  # fmt: skip
Tables = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TABLE]...", help="Ablation tables of it, with their .folds.parquet beside them, to order by; - for "
        "stdin.", show_default=False, autocompletion=completion.files(completion.TABLES),
    ),
]  # fmt: skip
Order = Annotated[
    list[str] | None,
    typer.Option(
        "--order", metavar="ORDER,…", autocompletion=completion.several((*ORDERS, RANDOM)),
        help="How heads are ordered, several beside each other; the first is the one that is saved: "
        + "; ".join(f"{kind.name} ({kind.words})" for kind in ORDERS.values()) + ".  [default: effect]",
    ),
]  # fmt: skip
Select = Annotated[
    str | None,
    typer.Option("--select", metavar="HEAD,…", help="Instead: take out these heads (L3H1,L5H0 or 3.1,5.0)."),
]
Every = Annotated[
    int | None,
    typer.Option("--every", metavar="K", min=1, help="Heads a step.  [default: 1, of more than 36 heads a 36th]"),
]
Again = Annotated[bool, typer.Option("--again", help="Measure heads again after each step.")]
ChooseOn = Annotated[
    list[str] | None,
    typer.Option(
        "--choose-on", metavar="SHIFT", autocompletion=completion.shifts,
        help="Conditions that orders are measured under.  [default: clean]",
    ),
]  # fmt: skip
Keep = Annotated[int | None, typer.Option("--keep", metavar="N", min=0, help="Save the model with N heads left.")]
Flops = Annotated[
    float | None,
    typer.Option("--flops", metavar="SHARE", min=0, max=1, help="Save the model that has this share of the FLOPs."),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance", metavar="E", min=0, max=1, help="Save the smallest that loses at most E of accuracy on the "
        "images that choose.",
    ),
]  # fmt: skip
Certify = Annotated[
    float | None,
    typer.Option(
        "--certify", metavar="E", min=1e-4, max=0.5, help="Save the smallest that surely loses at most E of accuracy, "
        "on images like the others.",
    ),
]  # fmt: skip
Over = Annotated[
    str,
    typer.Option(
        "--over", metavar="KIND", autocompletion=completion.words(OVER),
        help="Of --certify and --tolerance: worst (of each condition), corruption (of each one's mean), or mean.",
    ),
]  # fmt: skip
Confidence = Annotated[float, typer.Option("--confidence", metavar="SHARE", min=0.5, max=0.998, help="Of --certify.")]
Fill = Annotated[
    str,
    typer.Option(
        "--fill", metavar="FILL", autocompletion=completion.words(WEIGHT_FILLS[:2]),
        help="What heads leave behind in the projection's bias: zero, or mean-flat.",
    ),
]  # fmt: skip
Compensate = Annotated[
    bool, typer.Option("--compensate", help="Let the other heads stand in for them, as far as they tell (ridge).")
]
Ridge = Annotated[float, typer.Option("--ridge", metavar="X", help="Of --compensate, in variances of the other heads.")]
FillData = Annotated[
    options.Place | None,
    typer.Option(
        "--fill-data", metavar="DIR|URL", parser=places.parse, help="Images that --fill and --compensate come from.  "
        "[default: the model's training split]",
    ),
]  # fmt: skip
RandomOrders = Annotated[
    int, typer.Option("--random", metavar="N", min=0, max=1000, help="Random orders beside it, the control.")
]
Among = Annotated[
    str | None,
    typer.Option("--among", metavar="LAYER,…|last", help="Only heads of these layers may go.  [default: all]"),
]
Speed = Annotated[bool, typer.Option("--speed", help="Measure images a second, too.")]
Curve = Annotated[
    str | None,
    typer.Option(
        "--curve", metavar="FILE", help="The table of all steps; - sends it down the pipe.  "
        "[default: OUT.prune.csv with -o, else stdout]",
    ),
]  # fmt: skip
Checkpoint = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="FILE", help="The smaller checkpoint, whole or not at all.")
]


def prune(
    model: Reference,
    tables: Tables = None,
    order: Order = None,
    select: Select = None,
    keep: Keep = None,
    flops: Flops = None,
    tolerance: Tolerance = None,
    certify: Certify = None,
    over: Over = "worst",
    confidence: Confidence = 0.95,
    shift: options.Shifts = None,
    choose_on: ChooseOn = None,
    every: Every = None,
    again: Again = False,
    among: Among = None,
    random_orders: RandomOrders = 20,
    fill: Fill = "zero",
    compensate: Compensate = False,
    ridge: Ridge = RIDGE,
    fill_data: FillData = None,
    speed: Speed = False,
    data: options.Data = None,
    out: Checkpoint = None,
    curve: Curve = None,
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
    """Take out the heads that are least needed, measure what that costs, and save the smaller model.

    Example: vhs prune vit.safetensors --shift imagenet-c | vhs plot -o prune.png

    Example: vhs prune vit.safetensors --keep 18 -o small.safetensors

    Example: vhs prune vit.safetensors heads.csv --shift imagenet-c --certify .05 -o small.safetensors
    """
    console = options.console("prune", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures.terminal import summary
    from vhs.formats.atomic import check_outputs
    from vhs.measures import pruning_options
    from vhs.runs import journal
    from vhs.summaries import comparison

    asked = pruning_options.Pruning(
        orders=pruning_options.orders_of(order or ["effect"]), listed=pruning_options.heads_of(select),
        fill=pruning_options.fill_of(fill, compensate=compensate, ridge=ridge), over=over, keep=keep, flops=flops,
        tolerance=tolerance, certify=certify, confidence=confidence, every=every, again=again, random=random_orders,
        speed=speed, among=pruning_options.layers_of(among),
    ).checked(tables=bool(tables), saving=out is not None)  # fmt: skip
    table = _curve(out, curve, form, summary)
    check_outputs([out, table.out if table else None], [model, *(tables or [])])
    main = out if out is not None else table.out if table else None
    read = options.reader(console, partial=False, whole=False)
    rows = comparison.read_folds(tables, read) if tables else None
    kept = journal.keep(main, resume=resume, new_tile=tile is not None, dry_run=dry_run, note=console.note)
    with kept as keeping, console.progress() as progress:
        from vhs.pruning import opening as benches
        from vhs.runs import opening

        wanted = opening.Options(
            shift=shift or [], max_samples=max_samples, seed=seed, tile=tile, device=device, threads=threads,
            precision=precision, skip_bad=skip_bad, verify=not no_verify, fill_data=fill_data,
        )  # fmt: skip
        bench = benches.open_bench(
            model, data, wanted, asked, choose_on=choose_on or [], table=rows, progress=progress, note=console.note
        )
        console.detail(bench.run.in_words())
        if dry_run:
            progress.end()
            return output.write(bench.in_words().encode())
        found = bench.prune(keeping)
        progress.end()
        _write(bench, found, out, table)
        keeping.discard()
    refusal = found.certificate.refusal() if found.certificate is not None and out is not None else None
    if refusal:
        raise VhsError(refusal)


def _curve(
    out: Path | None, named: str | None, form: str | None, summarise: Callable[[DataFrame], str]
) -> output.TableOutput | None:  # fmt: skip
    """Where the table goes; None where it goes nowhere, the checkpoint being on stdout."""
    if named is not None:
        return output.TableOutput(PRUNE, Path(named), form, summarise)
    if out == Path("-"):
        return None
    return output.TableOutput(PRUNE, None if out is None else out.with_suffix(".prune.csv"), form, summarise)


def _write(bench: Bench, found: Pruned, out: Path | None, table: output.TableOutput | None) -> None:
    """The checkpoint and the table, together; what goes to stdout after them."""
    from vhs.formats.atomic import write_together

    if not is_first():
        return
    rows = b""
    if table is not None:
        table.add(found.rows)
        rows = table.bytes_left({"command": output.command_line()} | bench.run.provenance())
    checkpoint = bench.checkpoint(found, out) if out is not None and found.net is not None else None
    files = [(table.out, rows)] if table is not None and table.out is not None else []
    piped = out == Path("-")
    write_together(files + ([(out, checkpoint)] if out is not None and checkpoint and not piped else []))
    if piped and checkpoint:
        return output.write(checkpoint)
    if table is not None and table.out is None:
        return output.write(rows)
    output.name_product(out if out is not None and checkpoint else files[0][0])
