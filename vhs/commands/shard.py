"""`vhs shard`: public layouts to shard sets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vhs import completion, options, output
from vhs.errors import InputError, UsageError, choices

if TYPE_CHECKING:
    from vhs.formats.split import Split

SPLITS = ("train", "val", "test")
LAYOUT_NAMES = (
    "fashion-mnist", "idx", "mnist-json", "npz", "imagenet-c", "cifar-c", "tiny-imagenet", "metadata", "cue-conflict",
    "domains", "folders",
)  # fmt: skip
"""As in sources/layouts.py, which is not imported for --help; a test compares them."""

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder, a .npz file, fashion-mnist, or what is made: chirps, dominoes.",
        autocompletion=completion.files((".npz",), ("fashion-mnist", "chirps", "dominoes")),
        show_default=False,
    ),
]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the shard sets.", show_default=False)]
Layout = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar="LAYOUT",
        autocompletion=completion.words(LAYOUT_NAMES),
        help=f"{choices(LAYOUT_NAMES)}.  [default: detected]",
    ),
]
SplitName = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="NAME",
        autocompletion=completion.words(SPLITS),
        help="What a source without splits is: train, val or test.",
    ),
]
Base = Annotated[
    Path | None,
    typer.Option(
        "--base", metavar="DIR", help="The clean shard set this is a shifted version of: same ids, same classes."
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="ROLE=COLUMN,…", help="Of metadata.csv: path, label, split, group (a+b joins two), attr "
        "(repeats).  [default: by usual names]",
    ),
]  # fmt: skip
Classes = Annotated[
    str | None, typer.Option("--classes", metavar="A,B,…", help="Only these classes, in this order; @FILE lists them.")
]
PerClass = Annotated[
    int | None, typer.Option("--per-class", metavar="N", min=1, help="At most N samples of each class, drawn by id.")
]
Top = Annotated[str | None, typer.Option("--top", metavar="SOURCE", help="dominoes: the images that are the shortcut.")]
Bottom = Annotated[
    str | None, typer.Option("--bottom", metavar="SOURCE", help="dominoes: the images whose class is asked for.")
]
Pairs = Annotated[
    str | None,
    typer.Option("--pairs", metavar="TOP:BOTTOM,…", help="dominoes: which classes go together.  [default: by place]"),
]
Correlation = Annotated[
    float,
    typer.Option(
        "--correlation", metavar="P", min=0, max=1, help="dominoes: odds that the top has the bottom's class."
    ),
]
Count = Annotated[int, typer.Option("--count", metavar="N", min=8, help="chirps: training images.")]
Side = Annotated[int, typer.Option("--side", metavar="PX", help="chirps: height and width.")]
Distort = Annotated[
    str,
    typer.Option("--distort", metavar="NAME,…", help="chirps: labels, title, colorbar, ticks, or none."),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Pack what symbolic links lead to outside SOURCE, too.")
]
PerTar = Annotated[int, typer.Option("--per-tar", metavar="N", min=1, help="Samples a tar.")]


def shard(
    source: Source,
    out: Target,
    layout: Layout = None,
    split: SplitName = None,
    columns: Columns = None,
    classes: Classes = None,
    per_class: PerClass = None,
    base: Base = None,
    per_tar: PerTar = 1000,
    top: Top = None,
    bottom: Bottom = None,
    pairs: Pairs = None,
    correlation: Correlation = 1.0,
    count: Count = 2000,
    side: Side = 128,
    distort: Distort = "labels,title,colorbar,ticks",
    seed: options.Seed = 0,
    skip_bad: options.SkipBad = False,
    follow_links: FollowLinks = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Pack images into WebDataset shards with a manifest, byte-identically; a rerun continues a killed one.

    Example: vhs shard fashion-mnist data/fashion

    Example: vhs shard ~/imagenet data/imagenet   (train/CLASS/*.JPEG, val/CLASS/*.JPEG)

    Example: vhs shard ~/imagenet-c data/imagenet-c --base data/imagenet/val

    Example: vhs shard dominoes data/dominoes --top mnist/src/digits --bottom fashion-mnist --correlation .95

    Example: vhs shard chirps data/chirps --count 4000 --distort labels,ticks

    Example: vhs shard ~/waterbirds data/waterbirds --columns path=img_filename,label=y,split=split,group=y+place
    """
    console = options.console("shard", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.formats import locks
    from vhs.formats.sharding import write_set
    from vhs.formats.split import selected
    from vhs.sources.base import shifted

    chosen = _listed(classes) if classes else None
    if source == "dominoes":
        found = _dominoes(top, bottom, pairs, correlation, seed, follow_links)
    elif source == "chirps":
        found = _chirps(count, side, distort, seed)
    else:
        found = _splits(source, layout, split, columns, follow_links)
    parts = [selected(part, chosen, per_class) for part in found]
    if base is not None:
        parts = [shifted(part, base) for part in parts]
    folders = [out / (part.folder or part.split) for part in parts] if len(parts) > 1 else [out]
    if dry_run:
        lines = [f"{folder}\t{len(part.ids)} samples\t{len(part.classes)} classes\n"
                 for folder, part in zip(folders, parts, strict=True)]  # fmt: skip
        return output.write("".join(lines).encode())
    with locks.held(folders, console.note):
        for folder, part in zip(folders, parts, strict=True):
            made = shifted(part, out / part.version_of) if part.version_of else part
            with console.progress() as progress:
                manifest, skipped = write_set(folder, made, per_tar=per_tar, skip_bad=skip_bad, progress=progress)
            if skipped:
                console.note(f"{folder}: {len(skipped)} bad samples skipped; the first: {skipped[0]}")
            console.detail(f"{folder}: {manifest.samples} samples in {len(manifest.tars)} tars, {manifest.hash}")
            output.name_product(folder)


def _dominoes(
    top: str | None, bottom: str | None, pairs: str | None, correlation: float, seed: int, follow_links: bool
) -> list[Split]:  # fmt: skip
    from vhs.sources import layouts
    from vhs.sources.dominoes import Dominoes

    if top is None or bottom is None:
        raise UsageError("dominoes: needs --top SOURCE and --bottom SOURCE.")
    together = None
    if pairs is not None:
        together = [(a, b) for a, _, b in (pair.partition(":") for pair in pairs.split(","))]
        if not all(a and b for a, b in together):
            raise UsageError(
                f"--pairs {pairs}: expected TOP:BOTTOM, several joined by commas, such as 0:automobile,1:truck."
            )
    above, below = (layouts.read(source, layouts.detect(source), follow_links=follow_links) for source in (top, bottom))
    return Dominoes(above, below, pairs=together, correlation=correlation, seed=seed).splits()


def _chirps(count: int, side: int, distort: str, seed: int) -> list[Split]:
    from vhs.sources.chirps import Chirps

    names = [] if distort == "none" else distort.split(",")
    return Chirps(count=count, side=side, distortions=names, seed=seed).splits()


def _listed(classes: str) -> list[str]:
    """The names of `A,B`, or of the lines of `@FILE`."""
    if not classes.startswith("@"):
        return classes.split(",")
    try:
        return [line.strip() for line in Path(classes[1:]).read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{classes[1:]}: cannot be read: {error}. Name a file with one class a line.") from error


def _splits(
    source: str, layout: str | None, name: str | None, columns: str | None, follow_links: bool
) -> list[Split]:  # fmt: skip
    """The splits of the source; a single one takes the name asked for."""
    from vhs.sources import layouts

    if layout is not None and layout not in layouts.LAYOUTS:
        raise UsageError(f"--layout {layout}: expected {choices(layouts.LAYOUTS)}.")
    parts = layouts.read(source, layout or layouts.detect(source), columns, follow_links=follow_links)
    if name is None:
        return parts
    if len(parts) > 1 or name not in SPLITS:
        why = f"the source has its own ({', '.join(part.split for part in parts)})" if len(parts) > 1 else "unknown"
        raise UsageError(f"--split {name}: {why}; expected one split, called {choices(SPLITS)}.")
    return [replace(parts[0], split=name)]
