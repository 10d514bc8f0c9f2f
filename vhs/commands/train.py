"""`vhs train`: a small ViT from shards."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from vhs import options, output
from vhs.errors import InputError, MismatchError, UsageError

Shards = Annotated[
    Path,
    typer.Argument(
        metavar="SHARDS", help="A training shard set, or a folder with one and its validation set.", show_default=False
    ),
]
Val = Annotated[Path | None, typer.Option("--val", metavar="DIR", help="Validation shard set.  [default: beside]")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", metavar="FILE", help="TOML file of recipe keys.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any recipe key; repeats. See --print-config.")
]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the resolved recipe as TOML, and stop.")]
Minutes = Annotated[
    float | None, typer.Option("--minutes", metavar="M", min=0.01, help="Shorten the schedule to fit this time.")
]
Snapshots = Annotated[
    str | None, typer.Option("--snapshots", metavar="STEPS", help="Keep weights at these updates: 100,200 or log.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run with the same -o.")]
Log = Annotated[Path | None, typer.Option("--log", metavar="FILE", help="Training log.  [default: OUT.train.csv]")]
Depth = Annotated[int | None, typer.Option(metavar="N", min=1, help="Layers.  [default: 6]")]
Dim = Annotated[int | None, typer.Option(metavar="N", min=1, help="Width of the model, features.  [default: 64]")]
Heads = Annotated[int | None, typer.Option(metavar="N", min=1, help="Heads a layer.  [default: 4]")]
HeadWidth = Annotated[int | None, typer.Option(metavar="N", min=1, help="Features a head.  [default: dim / heads]")]
Patch = Annotated[int | None, typer.Option(metavar="N", min=1, help="Side of a patch, px.  [default: 7]")]
Epochs = Annotated[int | None, typer.Option(metavar="N", min=1, help="Passes over the data.  [default: 12]")]
Batch = Annotated[int | None, typer.Option(metavar="N", min=1, help="Samples an update.  [default: 128]")]
Rate = Annotated[float | None, typer.Option(metavar="X", min=0, help="Learning rate after warm-up.  [default: 0.003]")]
TrainingSeed = Annotated[int | None, typer.Option(metavar="N", help="Training seed.  [default: 0]")]
Checkpoint = Annotated[Path | None, typer.Option("-o", "--out", metavar="CKPT", help="The checkpoint to write.")]

EVERYDAY = ("depth", "dim", "heads", "head_width", "patch", "epochs", "batch", "lr", "seed")


def train(
    shards: Shards,
    out: Checkpoint = None,
    depth: Depth = None,
    dim: Dim = None,
    heads: Heads = None,
    head_width: HeadWidth = None,
    patch: Patch = None,
    epochs: Epochs = None,
    batch: Batch = None,
    lr: Rate = None,
    seed: TrainingSeed = None,
    minutes: Minutes = None,
    recipe: RecipeFile = None,
    settings: Settings = None,
    print_config: PrintConfig = False,
    val: Val = None,
    log: Log = None,
    snapshots: Snapshots = None,
    resume: Resume = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    skip_bad: options.SkipBad = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Train a vision transformer from scratch; prints the path of its checkpoint.

    Example: vhs train data/fashion -o vit.safetensors

    Example: vhs train data/fashion --heads 8 --epochs 20 --set mixup=0.2 -o runs/h8.safetensors
    """
    console = options.console("train", quiet=quiet, verbose=verbose, debug=debug)
    flags = (depth, dim, heads, head_width, patch, epochs, batch, lr, seed)
    resolved = _recipe(recipe, dict(zip(EVERYDAY, flags, strict=True)), settings)
    if print_config:
        return output.write(resolved.to_toml().encode())
    if out is None or out == Path("-"):
        raise UsageError("names no output file. Add -o CKPT.safetensors.")
    from vhs.formats import shards as sets
    from vhs.formats.atomic import check_outputs
    from vhs.formats.tables import format_of
    from vhs.runs import runtime
    from vhs.runs.training import Training, already_trained, parse_snapshots

    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: expected a name that ends in .safetensors.")
    log_file = log or out.with_suffix(".train.csv")
    format_of(log_file, None)
    check_outputs([out, log_file], [])
    training_set = sets.pick(shards, lambda manifest: manifest.split == "train", "training")
    if training_set.manifest.split != "train":
        split = training_set.manifest.split
        raise MismatchError(f"{shards}: is a {split} split, a train split was expected. `vhs shard --split` names it.")
    per_epoch = max(training_set.manifest.samples // resolved.batch, 1)
    total = resolved.epochs * per_epoch
    validation_set = _validation(shards, val, training_set)
    steps = parse_snapshots(snapshots, total)
    if dry_run:
        return output.write(_plan(resolved, training_set, validation_set, out).encode())
    if resume and already_trained(out, resolved, training_set):
        console.note(f"{out}: is already trained to its end with this recipe on this data")
        return output.write(f"{out}\n".encode())
    with _StopSignals() as stop, console.progress() as progress:
        training = Training(
            out=out, train=training_set, val=validation_set, recipe=resolved,
            device=runtime.prepare(device, threads, "float32"), minutes=minutes, skip_bad=skip_bad,
            snapshots=steps, stop=stop, progress=progress,
        )  # fmt: skip
        try:
            finished = training.run(resuming=resume)
        finally:
            if training.log:
                _write_log(log_file, training.table())
            for note in training.notes:
                console.note(note)
        if not finished:
            console.note("stopped; the state is saved, --resume continues")
            stop.end()
    output.write(f"{out}\n".encode())


def _recipe(file: Path | None, flags: dict[str, object], settings: list[str] | None):  # type: ignore[no-untyped-def]
    """Defaults, then the file, then flags, then --set."""
    from vhs.training.recipe import Recipe, from_toml, parse_settings

    resolved = Recipe()
    if file is not None:
        try:
            resolved = from_toml(file.read_bytes(), str(file))
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}. Name a TOML recipe.") from error
    given = {key: value for key, value in flags.items() if value is not None}
    return resolved.with_values(given, "train").with_values(parse_settings(settings or []), "--set")


def _validation(shards: Path, val: Path | None, training_set):  # type: ignore[no-untyped-def]
    """The validation set named, or the one of the same name beside the training set."""
    from vhs.formats import shards as sets

    folder = val or (shards if training_set.folder != shards else shards.resolve().parent)
    name = training_set.manifest.name
    return sets.pick(
        folder, lambda manifest: manifest.split == "val" and (val is not None or manifest.name == name), "validation"
    )


def _plan(recipe, training_set, validation_set, out: Path) -> str:  # type: ignore[no-untyped-def]
    """What a run would do, for --dry-run; raises what the run would raise of its sizes."""
    from math import prod

    from vhs.runs.decoding import side

    manifest = training_set.manifest
    height, width = side(manifest)
    spec = recipe.spec(channels=manifest.channels, height=height, width=width, classes=len(manifest.classes))
    parameters = sum(prod(shape) for shape in spec.parameter_shapes().values())
    per_epoch = max(manifest.samples // recipe.batch, 1)
    heads = f"{spec.heads} heads of {spec.head_width}"
    return (
        f"data     {manifest.samples} samples of {training_set.folder}, {validation_set.manifest.samples} to validate\n"
        f"model    depth {spec.depth}, {heads}, {spec.tokens} tokens, {parameters:,} parameters\n"
        f"updates  {recipe.epochs * per_epoch}: {recipe.epochs} epochs of {per_epoch}, {recipe.batch} samples each\n"
        f"writes   {out}\n"
    )


def _write_log(path: Path, table) -> None:  # type: ignore[no-untyped-def]
    from vhs.formats.atomic import write_whole
    from vhs.formats.tables import format_of, render

    write_whole(path, render(table, format_of(path, None)))


class _StopSignals:
    """Inside the block SIGINT and SIGTERM ask for a stop after the update under way."""

    def __enter__(self) -> _StopSignals:
        self._received = 0
        self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return bool(self._received)

    def end(self) -> None:
        """End the program as the signal asked: exit code 130 or 143."""
        raise typer.Exit(128 + self._received)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
