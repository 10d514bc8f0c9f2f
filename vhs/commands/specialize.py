"""`vhs specialize`: what every head looks at, and how differently heads look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vhs import options, output
from vhs.commands import sharing
from vhs.errors import UsageError
from vhs.formats.schemas import HEADS, MATCHES, PAIRS, PROBES
from vhs.world import world

if TYPE_CHECKING:
    from vhs.console import Console
    from vhs.output import TableOutput
    from vhs.runs.journal import Keeping
    from vhs.runs.opening import Options
    from vhs.runs.recording import Measured
    from vhs.runs.run import Run
    from vhs.viewing.maps import Asked

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
MapsFile = Annotated[
    Path | None,
    typer.Option(
        "--maps", metavar="FILE", help="What heads look at in a few images, for `vhs plot`, instead of the table (with "
        "-o beside it); - sends it down the pipe.",
    ),
]  # fmt: skip
Full = Annotated[bool, typer.Option("--full", help="--maps: from every token, not from the class token only.")]
Images = Annotated[list[Path] | None, typer.Option("--image", metavar="FILE", help="--maps: of this picture. Repeats.")]
Samples = Annotated[
    list[str] | None,
    typer.Option("--sample", metavar="ID", help="--maps: of this sample of the data. Repeats.  [default: the first 6]"),
]
TopImages = Annotated[
    int, typer.Option("--top-images", metavar="K", min=0, help="--maps: of the K images that drive each head most and "
                      "least, by what it writes for their class."),
]  # fmt: skip
Probe = Annotated[
    Path | None,
    typer.Option(
        "--probe", metavar="FILE", help="What can be decoded from each head: linear probes of the label and of every "
        "attribute of the data, instead of the table (with -o beside it); - sends them down the pipe.",
    ),
]  # fmt: skip
Against = Annotated[
    str | None,
    typer.Option(
        "--against", metavar="MODEL", help="Which head of MODEL each head is most like, instead of the table: another "
        "seed, a teacher, a model of more heads.",
    ),
]  # fmt: skip
Gradients = Annotated[
    bool,
    typer.Option("--gradients", help="Compare the directions of their input that heads of a layer answer to, too, in "
    "the pairs table; takes a pass and a half more."),
]  # fmt: skip
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
    gradients: Gradients = False,
    probe: Probe = None,
    against: Against = None,
    maps: MapsFile = None,
    full: Full = False,
    image: Images = None,
    sample: Samples = None,
    top_images: TopImages = 0,
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
    part: options.Part = None,
    dry_run: options.DryRun = False,
    sbatch: options.Sbatch = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Measure what every head looks at, what it writes and follows, and how alike heads are; show it on images.

    Example: vhs specialize vit.safetensors | vhs plot -o heads.png

    Example: vhs specialize vit.safetensors --pairs - | vhs plot -o jsd.png

    Example: vhs specialize vit.safetensors --image photo.jpg --shift fog:3 --maps - | vhs plot -o maps.png

    Example: vhs specialize dom.safetensors --data dominoes/randomised --probe - | vhs compare --summary exclusivity

    Example: vhs specialize seed0.safetensors --against seed1.safetensors | vhs plot -o matches.png

    Example: vhs specialize chirps.safetensors --shift data/chirps/val-bare --regions -o regions.csv
    """
    console = options.console("specialize", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures.terminal import summary
    from vhs.formats.atomic import check_outputs
    from vhs.runs import journal, opening

    share = sharing.parse(part, sbatch, out, {"pairs": pairs, "format": form}, dry_run=dry_run)
    sharing.refuse(share or sbatch, {"maps": maps, "probe": probe, "skip-bad": against is not None and skip_bad})
    instead = pairs == "-"
    schema = MATCHES if against is not None else PAIRS if instead else HEADS
    main = output.TableOutput(schema, out, "csv" if share else form, summary)
    beside = output.companion(PAIRS, out, pairs, "pairs") if against is None and share is None else None
    check_outputs([out, beside.out if beside else None, maps, probe], models)
    asked = opening.Options(
        shift=shift or [], max_samples=max_samples, seed=seed, tile=tile, device=device, threads=threads,
        precision=precision, skip_bad=skip_bad, verify=not no_verify, part=share,
    )  # fmt: skip
    shown = _shown(maps, image or [], sample or [], top_images, full=full, activity=activity)
    if against is not None:
        _refuse_beside("--against", {
            "pairs": pairs, "within-layer": within_layer, "regions": regions, "activity": activity, "maps": maps,
            "probe": probe, "gradients": gradients,
        }, "Run them apart.")  # fmt: skip
    elif (maps is not None or probe is not None) and out is None:
        _refuse_beside("--maps" if maps is not None else "--probe", {
            "pairs": pairs, "within-layer": within_layer, "regions": regions, "resume": resume, "dry-run": dry_run,
            "activity": activity if maps is None else 0, "format": form if maps is not None else None,
            "probe": probe if maps is not None else None,
        })  # fmt: skip
        if probe is not None:
            return _write_probes(models, data, asked, probe, form, console)
        assert maps is not None and shown is not None
        return _write_maps(models, data, asked, shown, maps, console)
    kept = journal.keep(out, resume=resume, new_tile=tile is not None, dry_run=dry_run, note=console.note)
    with kept as keep, console.progress() as progress:
        named = models if against is None else [*models, against]
        run = opening.open_named(named, data, asked, progress=progress, note=console.note)
        console.detail(run.in_words())
        if dry_run:
            progress.end()
            return sharing.plan(run, out, sbatch, ablating=False)
        wanted = (not within_layer, regions, activity, gradients)
        measured = _measured(run, keep, wanted, matching=against is not None)
        if share is not None and out is not None:
            content = sharing.collect(measured, run, out, keep)
            progress.end()
            return sharing.write(content, out, keep)
        _fill(measured, main, beside, instead=instead)
        progress.end()
        output.finish(main, beside, provenance={"command": output.command_line()} | run.provenance())
        keep.discard()
    if maps is not None and shown is not None:
        _write_maps(models, data, asked, shown, maps, console)
    if probe is not None:
        _write_probes(models, data, asked, probe, None, console)


def _measured(run: Run, keep: Keeping, wanted: tuple[bool, bool, int, bool], *, matching: bool) -> Measured:
    """The run as it is measured: matches, or heads and the divergences beside them."""
    if matching:
        from vhs.viewing import matching as beside

        return beside.measure(run, keep)
    from vhs.viewing import specialization

    return specialization.measure(run, keep, specialization.Asked(*wanted))


def _fill(measured: Measured, main: TableOutput, beside: TableOutput | None, *, instead: bool) -> None:
    """The rows of all conditions; instead: of divergences, down the pipe."""
    for tables in measured.tables():
        main.add(tables.pairs if instead else tables.heads if hasattr(tables, "heads") else tables.rows)
        if beside:
            beside.add(tables.pairs)


def _shown(
    maps: Path | None, images: list[Path], samples: list[str], top: int, *, full: bool, activity: int
) -> Asked | None:  # fmt: skip
    """What maps are shown of. Raises UsageError for options of --maps without it."""
    if maps is None:
        given = {"--image": images, "--sample": samples, "--top-images": top, "--full": full}
        lone = next((name for name, value in given.items() if value), None)
        if lone is not None:
            raise UsageError(f"{lone}: says what --maps shows. Add --maps FILE, or --maps - before `| vhs plot`.")
        return None
    from vhs.viewing.maps import Asked

    return Asked(samples=samples, images=images, whole=full, activity=activity, top=top)


def _refuse_beside(
    option: str, given: dict[str, object], advice: str = "Name a file for it with -o, or drop one."
) -> None:  # fmt: skip
    """Raises UsageError for options of the table where something else is made."""
    lone = next((name for name, value in given.items() if value), None)
    if lone is not None:
        raise UsageError(f"--{lone}: is of the table, which {option} stands for. {advice}")


def _write_probes(
    models: list[str], data: options.Place | None, asked: Options, target: Path, form: str | None, console: Console
) -> None:  # fmt: skip
    """The probes table into a file, down the pipe, or in words on a terminal."""
    from vhs.figures.terminal import summary
    from vhs.formats import locks
    from vhs.formats.atomic import is_ordinary
    from vhs.runs import opening
    from vhs.viewing import probes

    probes.check()
    table = output.TableOutput(PROBES, target, form, summary)
    file = [target] if target != Path("-") and is_ordinary(target) else []
    with locks.hold(file, console.note), console.progress() as progress:
        run = opening.open_named(models, data, replace(asked, by=None), progress=progress, note=console.note)
        for part in probes.probe(run):
            table.add(part)
        progress.end()
        output.finish(table, provenance={"command": output.command_line()} | run.provenance())


def _write_maps(
    models: list[str], data: options.Place | None, options: Options, wanted: Asked, target: Path, console: Console
) -> None:  # fmt: skip
    """The maps of one model into a file, whole or not at all, or down the pipe."""
    from vhs.formats import locks, map_file
    from vhs.formats.atomic import is_ordinary, write_whole
    from vhs.viewing import maps

    if world()[1] > 1:
        raise UsageError("--maps: shows a few images. Run it in one process.")
    if len(models) > 1:
        raise UsageError(f"--maps: shows one model, {len(models)} were named. Write a file for each.")
    if target == Path("-") and output.is_terminal():
        raise UsageError("--maps -: maps are not for a terminal. Name a file, or pipe them into `vhs plot`.")
    file = [target] if target != Path("-") and is_ordinary(target) else []
    with locks.hold(file, console.note), console.progress() as progress:
        found = maps.collect(models[0], data, options, wanted, progress=progress, note=console.note)
        content = map_file.to_bytes(found.info, found.tensors)
        progress.end()
        if target == Path("-"):
            return output.write(content)
        write_whole(target, content)
    output.name_product(target)
