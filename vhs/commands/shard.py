"""`vhs shard`: public layouts to shard sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vhs import completion, options, output
from vhs.errors import choices
from vhs.formats import places
from vhs.sources.layouts import LAYOUTS

SPLITS = ("train", "val", "test")

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder, a .npz file, tars ('train-{0000..0099}.tar', also behind a URL), fashion-mnist, or what is "
        "made: chirps, dominoes.",
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
        autocompletion=completion.words(tuple(LAYOUTS)),
        help=f"{choices(LAYOUTS)}.  [default: detected]",
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
    options.Place | None,
    typer.Option(
        "--base", metavar="DIR|URL", parser=places.parse,
        help="The clean shard set this is a shifted version of: same ids, same classes.",
    ),
]  # fmt: skip
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="ROLE=COLUMN,…", help="Of metadata.csv or Parquet: path, label, split, group (a+b joins "
        "two), attr (repeats).  [default: by usual names]",
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
        "--correlation",
        metavar="P",
        min=0,
        max=1,
        help="dominoes: odds in train and val that the top has the bottom's class.",
    ),
]
TestCorrelation = Annotated[
    float,
    typer.Option("--test-correlation", metavar="P", min=0, max=1, help="dominoes: the same in the aligned test set."),
]
ValShare = Annotated[
    float,
    typer.Option(
        "--val-share", metavar="S", min=0, max=1, help="dominoes: share of a source's images held out that is val, "
        "the rest test."
    ),
]  # fmt: skip
Count = Annotated[int, typer.Option("--count", metavar="N", min=8, help="chirps: training images.")]
Side = Annotated[int, typer.Option("--side", metavar="PX", help="chirps: height and width.")]
Distort = Annotated[
    str,
    typer.Option("--distort", metavar="NAME,…", help="chirps: labels, title, colorbar, ticks, or none."),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Pack what symbolic links lead to outside SOURCE, too.")
]
RegionMaps = Annotated[
    Path | None,
    typer.Option("--region-maps", metavar="DIR", help="PNGs named as the images, whose pixels number regions from 0."),
]
RegionNames = Annotated[
    str | None, typer.Option("--region-names", metavar="A,B,…", help="What regions 0, 1, … of --region-maps are.")
]
Label = Annotated[
    str | None,
    typer.Option(
        "--label", metavar="MEMBER", help="Of tars that others wrote, what tells a class: cls, txt or json:KEY.  "
        "[default: the first there is]",
    ),
]  # fmt: skip
ClassNames = Annotated[
    str | None,
    typer.Option(
        "--class-names", metavar="FILE|MEMBER", help="Of tars that others wrote, the names of numbered classes: a file "
        "with one a line, or json:KEY or txt of every sample.",
    ),
]  # fmt: skip
InPlace = Annotated[
    bool,
    typer.Option("--in-place", help="Describe tars where they lie, in OUT, instead of writing others: copies nothing."),
]
ClassMap = Annotated[
    str | None,
    typer.Option(
        "--class-map",
        metavar="FILE",
        help="What the folders are: lines of FOLDER,CLASS,… or JSON; of several classes any is right. "
        "`imagenet`: numbers are its indices.",
        autocompletion=completion.files((".csv", ".json", ".txt"), ("imagenet",)),
    ),
]
Superclasses = Annotated[
    bool,
    typer.Option(
        "--superclasses", help="The folders of --class-map are classes: a model's, by mean probability of theirs."
    ),
]
Attributes = Annotated[
    Path | None,
    typer.Option(
        "--attributes", metavar="FILE", help="CSV or JSON lines with a column of file names: attributes of the images."
    ),
]
AttributeColumns = Annotated[
    str | None,
    typer.Option(
        "--attribute-columns", metavar="A,B,…", help="Of --attributes, which.  [default: those of up to 64 values]"
    ),
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
    test_correlation: TestCorrelation = 1.0,
    val_share: ValShare = 0.5,
    count: Count = 2000,
    side: Side = 128,
    distort: Distort = "labels,title,colorbar,ticks",
    region_maps: RegionMaps = None,
    region_names: RegionNames = None,
    label: Label = None,
    class_names: ClassNames = None,
    in_place: InPlace = False,
    class_map: ClassMap = None,
    superclasses: Superclasses = False,
    attributes: Attributes = None,
    attribute_columns: AttributeColumns = None,
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

    Example: vhs shard 'imagenet1k-{train-{0000..1023},validation-{00..63}}.tar' data/imagenet --in-place

    Example: vhs shard ~/laion-c data/laion-c --class-map category_mapping.json --superclasses

    Example: vhs shard ~/imagenet/val data/imagenet-x --attributes imagenet_x_val_multi_factor.jsonl

    Example: vhs shard dominoes data/dominoes --top mnist/src/digits --bottom fashion-mnist --correlation .95

    Example: vhs shard dominoes data/mnist-cifar --top mnist --bottom cifar-10-batches-py --correlation .9
    --test-correlation .9 --val-share .2 --pairs 0:automobile,1:truck

    Example: vhs shard chirps data/chirps --count 4000 --distort labels,ticks

    Example: vhs shard ~/waterbirds data/waterbirds --columns path=img_filename,label=y,split=split,group=y+place
    """
    console = options.console("shard", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.formats import locks
    from vhs.sources import packing

    asked = packing.Asked(
        layout=layout, split=split, columns=columns, classes=packing.class_list(classes) if classes else None,
        per_class=per_class, base=base, per_tar=per_tar, top=top, bottom=bottom, pairs=pairs, correlation=correlation,
        test_correlation=test_correlation, val_share=val_share, count=count, side=side, distort=distort, seed=seed,
        skip_bad=skip_bad, follow_links=follow_links, region_maps=region_maps,
        region_names=region_names.split(",") if region_names else None, class_map=class_map,
        superclasses=superclasses, attributes=attributes,
        attribute_columns=attribute_columns.split(",") if attribute_columns else None, label=label,
        class_names=class_names, in_place=in_place,
    )  # fmt: skip
    with console.progress() as progress:
        parts = packing.parts(source, out, asked, progress=progress, note=console.note)
    if dry_run:
        lines = [f"{folder}\t{len(part.ids)} samples\t{len(part.classes)} classes\n" for folder, part in parts.items()]
        return output.write("".join(lines).encode())
    with locks.hold(parts, console.note):
        for folder, part in parts.items():
            with console.progress() as progress:
                made = packing.write(folder, part, out, asked, progress=progress, note=console.note).manifest
            console.detail(f"{folder}: {made.samples} samples in {len(made.tars)} tars, {made.hash}")
            output.name_product(folder)
