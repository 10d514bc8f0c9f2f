"""`vhs train`: a small ViT from shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vhs import completion, options, output
from vhs.commands.stopping import StopSignals
from vhs.errors import choices
from vhs.formats import places
from vhs.training.recipe import NAMED
from vhs.training.recipe_rules import ADAPTIVE, HEADS, KINDS, LOSSES
from vhs.world import is_first

Shards = Annotated[
    options.Place,
    typer.Argument(
        metavar="SHARDS", parser=places.parse, show_default=False,
        help="A training shard set, or a folder with one and its validation set; or its URL.",
    ),
]  # fmt: skip
Val = Annotated[
    options.Place | None,
    typer.Option(
        "--val", metavar="DIR|URL", parser=places.parse, help="Validation shard set.  [default: beside]"
    ),
]  # fmt: skip
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
Teacher = Annotated[
    str | None, typer.Option("--teacher", metavar="MODEL", help="Learn from this model, too: see --distill.")
]
Distill = Annotated[
    str | None,
    typer.Option(
        "--distill", metavar="NAME[=WEIGHT],…", autocompletion=completion.words(KINDS),
        help=f"What the teacher tells: {choices(KINDS)}; several are added up.",
    ),
]  # fmt: skip
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", metavar="X", min=0, max=1, help="Weight of the answers' own loss, the teacher's terms "
    "having 1 - X.  [default: 0.5]"),
]  # fmt: skip
GrainOf = Annotated[
    str | None,
    typer.Option("--grain", metavar="GRAIN", help="Whose attention: encoder (all layers), block:0,3 or block:0:1,3:7, "
    "head:0.1:2.3,… (student's : teacher's).  [default: encoder]"),
]  # fmt: skip
DistillLoss = Annotated[
    str | None,
    typer.Option(
        "--distill-loss", metavar="LOSS", autocompletion=completion.words(LOSSES),
        help=f"Of attention: {choices(LOSSES)}.  [default: kl]",
    ),
]  # fmt: skip
DistillHeads = Annotated[
    str | None,
    typer.Option(
        "--distill-heads", metavar="HOW", autocompletion=completion.words(HEADS),
        help=f"Which heads belong together: {choices(HEADS)}.  [default: first]",
    ),
]  # fmt: skip
AdaptiveTo = Annotated[
    str | None,
    typer.Option(
        "--adaptive", metavar="WHO", autocompletion=completion.words(ADAPTIVE[1:]),
        help=f"Weigh a sample's attention by whose answer is right: {choices(ADAPTIVE[1:])}.",
    ),
]  # fmt: skip
LikeTeacher = Annotated[
    bool, typer.Option("--like-teacher", help="Build the student with the teacher's LayerScale, registers, norms …")
]
DiversityOf = Annotated[
    float | None,
    typer.Option("--diversity", metavar="LAMBDA", min=0, help="Make heads of a layer answer to different directions of "
    "their input.  [default: 0]"),
]  # fmt: skip
DiversityLayers = Annotated[
    str | None, typer.Option("--diversity-layers", metavar="last|all|N,M", help="Whose heads.  [default: last]")
]
DiversityPairs = Annotated[
    int | None,
    typer.Option("--diversity-pairs", metavar="K", min=0, help="Pairs of heads an update, drawn.  [default: all]"),
]
PruneGates = Annotated[
    float | None,
    typer.Option(
        "--prune-gates", metavar="LAMBDA", min=0, help="Learn a gate for each head, which costs this much while it is "
        "open; the heads whose gates close are taken out.  [default: 0, none]",
    ),
]  # fmt: skip
PruneTo = Annotated[
    int | None,
    typer.Option(
        "--prune-to", metavar="N", min=0, help="Take out the least important heads one by one until N are left, then "
        "recover.  [default: 0, none]",
    ),
]  # fmt: skip
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

EVERYDAY = (
    "depth", "dim", "heads", "head_width", "patch", "epochs", "batch", "lr", "seed", "freeze", "lora", "distill",
    "alpha", "grain", "distill_loss", "distill_heads", "adaptive", "diversity", "diversity_layers", "diversity_pairs",
    "prune_gates", "prune_to",
)  # fmt: skip


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
    teacher: Teacher = None,
    distill: Distill = None,
    alpha: Alpha = None,
    grain: GrainOf = None,
    distill_loss: DistillLoss = None,
    distill_heads: DistillHeads = None,
    adaptive: AdaptiveTo = None,
    like_teacher: LikeTeacher = False,
    diversity: DiversityOf = None,
    diversity_layers: DiversityLayers = None,
    diversity_pairs: DiversityPairs = None,
    prune_gates: PruneGates = None,
    prune_to: PruneTo = None,
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

    Example: vhs train data/fashion --teacher vit.safetensors --distill attention,logits -o student.safetensors

    Example: vhs train data/dominoes --diversity 100 --head-width 64 --set last_residual=false -o diverse.safetensors

    Example: vhs train data/birds --recipe finetune --init timm:deit_tiny_patch16_224 --lora 8 -o birds.safetensors
    """
    console = options.console("train", quiet=quiet, verbose=verbose, debug=debug)
    flags = (
        depth, dim, heads, head_width, patch, epochs, batch, lr, seed, freeze, lora, distill, alpha, grain,
        distill_loss, distill_heads, adaptive, diversity, diversity_layers, diversity_pairs,
        prune_gates, prune_to,
    )  # fmt: skip
    from vhs.fitting import opening

    resolved = opening.recipe_of(recipe, dict(zip(EVERYDAY, flags, strict=True)), settings or [])
    if print_config and like_teacher:
        resolved, _, _ = opening.with_teacher(resolved, teacher, init, like_teacher)
    if print_config:
        return output.write(resolved.to_toml().encode())
    plan = opening.plan_of(
        shards, resolved, out, val=val, log=log, snapshots=snapshots, init=init, teacher=teacher,
        like_teacher=like_teacher,
    )  # fmt: skip
    if dry_run:
        return output.write(plan.in_words(device).encode())
    stop = StopSignals()
    means = opening.Means(
        device=device, threads=threads, minutes=minutes, workers=workers, compiled=compiled, skip_bad=skip_bad,
        track=track, resume=resume, stop=stop,
    )  # fmt: skip
    with console.progress() as progress:
        finished = opening.train(plan, means, progress=progress, note=console.note)
    if not finished:
        console.note("stopped; the state is saved, --resume continues")
        stop.end()
    if is_first():
        output.name_product(plan.out)
