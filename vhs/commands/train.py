"""`vhs train`: a small ViT from shards."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vhs import completion, options, output
from vhs.commands.stopping import StopSignals
from vhs.errors import InputError, MismatchError, UsageError, VhsError, choices
from vhs.models.spec import ViTSpec
from vhs.training.recipe import NAMED, Recipe
from vhs.world import is_first, local_ranks

if TYPE_CHECKING:
    from vhs.console import Console
    from vhs.fitting.training import Training
    from vhs.formats.shards import ShardSet

Shards = Annotated[
    Path,
    typer.Argument(
        metavar="SHARDS", help="A training shard set, or a folder with one and its validation set.", show_default=False
    ),
]
Val = Annotated[Path | None, typer.Option("--val", metavar="DIR", help="Validation shard set.  [default: beside]")]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        autocompletion=completion.files((".toml",), NAMED),
        help=f"{choices(NAMED)}, or a TOML file of recipe keys.  [default: demo]",
    ),
]
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
Init = Annotated[
    str | None, typer.Option("--init", metavar="MODEL", help="Begin with the weights of this model, and its sizes.")
]
Freeze = Annotated[
    str | None,
    typer.Option("--freeze", metavar="N|all", help="Do not train the first N blocks, or all but the classifier."),
]
Lora = Annotated[
    int | None,
    typer.Option("--lora", metavar="RANK", min=1, help="Train low-rank parts of queries and values instead."),
]
Track = Annotated[str | None, typer.Option("--track", metavar="TRACKER", help="Send the log to wandb, too.")]
Workers = Annotated[
    int | None, typer.Option("--workers", metavar="N", min=0, help="Processes that read images for RandAugment and "
    "resized crops.  [default: one a core, at most 16]")
]  # fmt: skip
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

EVERYDAY = ("depth", "dim", "heads", "head_width", "patch", "epochs", "batch", "lr", "seed", "freeze", "lora")


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
    recipe: RecipeName = None,
    init: Init = None,
    freeze: Freeze = None,
    lora: Lora = None,
    settings: Settings = None,
    print_config: PrintConfig = False,
    val: Val = None,
    log: Log = None,
    snapshots: Snapshots = None,
    track: Track = None,
    resume: Resume = False,
    workers: Workers = None,
    compiled: options.Compile = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    skip_bad: options.SkipBad = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Train a vision transformer, from scratch or from another model; prints the path of its checkpoint.

    Example: vhs train data/fashion -o vit.safetensors

    Example: vhs train data/fashion --heads 8 --epochs 20 --set mixup=0.2 -o runs/h8.safetensors

    Example: vhs train data/imagenet --recipe deit -o deit.safetensors   (torchrun --nproc-per-node 8 -m vhs train …)

    Example: vhs train data/birds --recipe finetune --init timm:deit_tiny_patch16_224 --lora 8 -o birds.safetensors
    """
    console = options.console("train", quiet=quiet, verbose=verbose, debug=debug)
    flags = (depth, dim, heads, head_width, patch, epochs, batch, lr, seed, freeze, lora)
    resolved = _recipe(recipe, dict(zip(EVERYDAY, flags, strict=True)), settings)
    if print_config:
        return output.write(resolved.to_toml().encode())
    if out is None or out == Path("-"):
        raise UsageError("names no output file. Add -o CKPT.safetensors.")
    from vhs.fitting.tracking import Tracker
    from vhs.fitting.training import Training, already_trained
    from vhs.formats import locks
    from vhs.runs import ranks, runtime

    plan = _prepare(shards, val, out, log, resolved, snapshots, init)
    if dry_run:
        return output.write(plan.in_words().encode())
    stop = StopSignals()
    with locks.held([out], console.note), console.progress() as progress:
        if resume and already_trained(out, resolved, plan.train, plan.val, init):
            lost = "" if plan.log.exists() else f"; {plan.log} is gone, and only training anew writes it"
            console.note(f"{out}: is already trained to its end with this recipe on this data{lost}")
            return output.name_product(out)
        ranks.start()
        training = Training(
            out=out, train=plan.train, val=plan.val, recipe=resolved, begin=init, workers=_workers(workers),
            device=runtime.prepare(device, threads, "float32"), minutes=minutes, skip_bad=skip_bad, compiled=compiled,
            snapshots=plan.snapshots, stop=stop, progress=progress, log_file=plan.log, epoch_done=console.note,
        )  # fmt: skip
        training.tracker = Tracker(track, asdict(resolved), console.note) if track and is_first() else None
        finished = _trained(training, stop, console, resume=resume)
        if not finished:
            console.note("stopped; the state is saved, --resume continues")
            stop.end()
    if is_first():
        output.name_product(out)


def _trained(training: Training, stop: StopSignals, console: Console, *, resume: bool) -> bool:
    """Run to the end or to a stop; the log and the notes are written in any case."""
    from vhs.runs import runtime

    finished = False
    try:
        with stop:
            finished = training.run(resuming=resume)
        return finished
    except (RuntimeError, MemoryError) as error:
        if not runtime.is_out_of_memory(error):
            raise
        raise VhsError("out of memory. Lower --batch, or run it in parts: --set accumulate=2.") from error
    finally:
        if not finished:  # else it was written before the checkpoint
            training.write_log()
        for note in training.notes:
            console.note(note)
        if training.tracker:
            training.tracker.finish()


@dataclass(frozen=True)
class _Plan:
    """What a run will do."""

    recipe: Recipe
    train: ShardSet
    val: ShardSet
    out: Path
    log: Path
    snapshots: frozenset[int]
    init: str | None

    def in_words(self) -> str:
        """For --dry-run; raises what the run would raise of its sizes."""
        import torch

        from vhs.fitting.start import beginning
        from vhs.models.model import build
        from vhs.training import optimization

        spec = beginning(self.recipe, self.init, self.train, self.val).spec
        with torch.device("meta"):
            optimization.freeze(build(spec), self.recipe)
        parameters = sum(prod(shape) for shape in spec.parameter_shapes().values())
        sizes = f"depth {spec.depth}, {spec.heads} heads of {spec.head_width}, {spec.tokens} tokens, " if isinstance(
            spec, ViTSpec) else f"{spec.name}, "  # fmt: skip
        per_epoch = self.recipe.updates_per_epoch(self.train.manifest.samples)
        epochs, batch = self.recipe.epochs, min(self.recipe.batch, self.train.manifest.samples)
        return (
            f"data     {self.train.manifest.samples} samples of {self.train.folder}, {self.val.manifest.samples} to "
            f"validate\nmodel    {sizes}{parameters:,} parameters{f', from {self.init}' if self.init else ''}\n"
            f"updates  {epochs * per_epoch}: {epochs} epochs of {per_epoch}, {batch} samples each\n"
            f"writes   {self.out}\n"
        )


def _prepare(
    shards: Path, val: Path | None, out: Path, log: Path | None, recipe: Recipe, snapshots: str | None, init: str | None
) -> _Plan:
    """The data and the outputs, checked. Raises UsageError, InputError or MismatchError for what does not go."""
    from vhs.fitting.training import parse_snapshots
    from vhs.formats import shards as sets
    from vhs.formats.atomic import check_outputs
    from vhs.formats.tables import format_of

    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: expected a name that ends in .safetensors.")
    log_file = log or out.with_suffix(".train.csv")
    format_of(log_file, None)
    check_outputs([out, log_file], [init] if init else [])
    train = sets.pick(shards, lambda manifest: manifest.split == "train", "training")
    if train.manifest.split != "train":
        split = train.manifest.split
        raise MismatchError(f"{shards}: is a {split} split, a train split was expected. `vhs shard --split` names it.")
    total = recipe.epochs * recipe.updates_per_epoch(train.manifest.samples)
    steps = parse_snapshots(snapshots, total)
    return _Plan(recipe, train, _validation(shards, val, train), out, log_file, steps, init)


def _workers(asked: int | None) -> int:
    """Of each process: its share of the cores it may use."""
    if asked is not None:
        return asked
    return min(max(len(os.sched_getaffinity(0)) // local_ranks(), 1), 16)


def _recipe(name: str | None, flags: dict[str, object], settings: list[str] | None) -> Recipe:
    """Defaults, then the recipe, then flags, then --set."""
    from vhs.training.recipe import from_toml, named, parse_settings

    if name is None or name in NAMED:
        resolved = named(name or "demo")
    else:
        try:
            resolved = from_toml(Path(name).read_bytes(), name)
        except OSError as error:
            raise InputError(f"{name}: {error.strerror}. Name a TOML recipe, or {choices(NAMED)}.") from error
    given = {key: value for key, value in flags.items() if value is not None}
    return resolved.with_values(given, "train").with_values(parse_settings(settings or []), "--set")


def _validation(shards: Path, val: Path | None, training_set: ShardSet) -> ShardSet:
    """The validation set named, or the one of the same name beside the training set."""
    from vhs.formats import shards as sets

    folder = val or (shards if training_set.folder != shards else shards.resolve().parent)
    name = training_set.manifest.name
    return sets.pick(
        folder, lambda manifest: manifest.split == "val" and (val is not None or manifest.name == name), "validation"
    )
