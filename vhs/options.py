"""Option types the commands share, so that each means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vhs import completion
from vhs.console import Console
from vhs.errors import UsageError
from vhs.formats import places
from vhs.formats.schemas import SCHEMAS
from vhs.world import is_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from vhs.formats.places import Place
    from vhs.formats.tables import Table
else:
    Place = Path  # Typer takes no unions; what it parses by places.parse is either

FORMATS, DEVICES, PRECISIONS = ("csv", "parquet", "jsonl"), ("auto", "cpu", "cuda"), ("float32", "tf32", "bf16")
ACROSS = ("layer", "of", "condition")
SCALES = ("accuracy", "lost_rate", "loss", "log_odds", "error", "relative_error")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
OF_FOLDS, OF_SHIFT = (
    tuple(
        schema.writer.rpartition(" ")[2]
        for schema in SCHEMAS.values()
        if schema.writer.startswith(f"{command} --summary ")
    )
    for command in ("compare", "evalshift")
)
"""What the shell offers; tests compare them with what is accepted."""

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="A vhs checkpoint, - for its bytes on stdin, timm:NAME, timm:NAME@WEIGHTS (sizes that the weights do not "
        "tell: timm:NAME:img_size=98,depth=3@WEIGHTS), hf:FOLDER|NAME; @FILE lists references.",
        show_default=False,
        autocompletion=completion.files(completion.MODELS, ("timm:", "hf:")),
    ),
]
Data = Annotated[
    Place | None,
    typer.Option(
        "--data",
        metavar="DIR|URL",
        parser=places.parse,
        autocompletion=completion.files(()),
        help="Shard set to measure on.  [default: the model's validation split]",
    ),
]
Shifts = Annotated[
    list[str] | None,
    typer.Option(
        "--shift",
        metavar="SHIFT",
        autocompletion=completion.shifts,
        help="imagenet-c, imagenet-c-extra, imagenet-c-bar, cifar-c-bar, a category (noise, blur, weather, digital) or "
        "a corruption (contrast), each also with severities (imagenet-c:3, contrast:3,5), clean_own (the model's own "
        "transform), or a shard set. Repeats; clean is always measured.",
    ),
]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write the result here, whole or not at all.")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        autocompletion=completion.words(FORMATS),
        help="csv, parquet or jsonl.  [default: by suffix, or csv]",
    ),
]
MaxSamples = Annotated[
    int | None,
    typer.Option("--max-samples", metavar="N", min=1, help="Score a class-stratified subset; larger ones contain it."),
]
By = Annotated[
    list[str] | None,
    typer.Option("--by", metavar="NAME", help="Rows for each value of an attribute, or of label."),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of corruptions and subsets.")]
Tile = Annotated[
    int | None, typer.Option("--tile", metavar="N", help="Samples a batch, a multiple of 16.  [default: by memory]")
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="DEVICE", autocompletion=completion.words(DEVICES), help="auto, cpu, cuda or cuda:N."
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=1, max=1024, help="CPU threads.  [default: all cores]")
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision", metavar="P", autocompletion=completion.words(PRECISIONS), help="float32, tf32 or bf16."
    ),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Through torch.compile: a minute to begin, then faster on a GPU.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be decoded, and say how many.")]
NoVerify = Annotated[bool, typer.Option("--no-verify", help="Do not compare the data with the hashes of its manifest.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue a killed run with the same -o.")]
NormaliseBy = Annotated[
    str | None,
    typer.Option(
        "--normalise-by", metavar="TABLE", help="Of --summary mce: a shift table of one model, alexnet or none.  "
        "[default: alexnet for 1,000 classes at 224 px, else none]",
    ),
]  # fmt: skip
Partial = Annotated[
    bool, typer.Option("--partial", help="Read a table whose end is missing from a pipe too: cut off, or filtered.")
]
Whole = Annotated[bool, typer.Option("--whole", help="Refuse a table whose end is missing from a file too.")]
Part = Annotated[
    str | None,
    typer.Option(
        "--part", metavar="I/N", help="Measure part I of N, from 0, into the file -o, for `vhs merge`; auto: this task "
        "of a Slurm array.",
    ),
]  # fmt: skip
Sbatch = Annotated[
    str | None,
    typer.Option(
        "--sbatch", metavar="N[%K]", help="--dry-run: print a Slurm script of N parts, at most K at once.",
    ),
]  # fmt: skip
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No notes, no progress.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

EXIT_CODES = (
    "Exit codes: 0 done; 1 the work failed; 2 usage; 3 unreadable or missing input; "
    "4 inputs that do not fit each other; 129, 130, 143 interrupted."
)


def is_pictured(path: str) -> bool:
    """Whether `path` is an image or a shard set, to be shown under every corruption."""
    place = places.parse(path)
    return not isinstance(place, Path) or place.is_dir() or place.suffix.lower() in PICTURES


def reader(console: Console, *, partial: bool, whole: bool) -> Callable[[str], Table]:
    """What reads the tables of a command, by its --partial and --whole. Raises UsageError for both at once."""
    if partial and whole:
        raise UsageError("--partial and --whole: ask for opposite things. Drop one of them.")

    def read(path: str) -> Table:
        from vhs.formats import tables

        ends = tables.Ends.PARTIAL if partial else tables.Ends.WHOLE if whole else tables.Ends.USUAL
        return tables.read(path, ends, console.note)

    return read


def console(command: str, *, quiet: bool, verbose: bool, debug: bool) -> Console:
    """The talk of one command."""
    return Console(f"vhs {command}", 0 if quiet or not is_first() else 2 if verbose or debug else 1)
