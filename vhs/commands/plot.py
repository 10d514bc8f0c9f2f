"""`vhs plot`: a table to a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vhs import completion, options, output
from vhs.errors import InputError, MismatchError, UsageError, choices
from vhs.measures.fill_kinds import FILLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from polars import DataFrame

    from vhs.formats.tables import Table

IMAGE_FORMATS = ("png", "pdf", "svg")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")

Tables = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TABLE]...",
        help="Tables of one kind; stdin when none is named.",
        show_default=False,
        autocompletion=completion.files((*completion.TABLES, *PICTURES)),
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind", metavar="KIND", autocompletion=completion.kinds, help="heads, scatter, conditions, … by table."
    ),
]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric", metavar="METRIC", autocompletion=completion.metrics, help="drop, dloss, top1, loss, … by table."
    ),
]
ModelName = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Draw this model of several.")]
FillName = Annotated[
    str | None,
    typer.Option("--fill", metavar="FILL", autocompletion=completion.words(FILLS), help="Draw this fill of several."),
]
ClassName = Annotated[
    str | None, typer.Option("--class", metavar="NAME", help="Of shard sets: images of this class, a row a set.")
]
ImageFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        autocompletion=completion.words(IMAGE_FORMATS),
        help="png, pdf or svg.  [default: by suffix, or png]",
    ),
]
Figure = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE", help="The figure; - for its bytes on stdout.  [default: by table]"),
]


def plot(
    tables: Tables = None,
    out: Figure = None,
    kind: Kind = None,
    metric: Metric = None,
    model: ModelName = None,
    fill: FillName = None,
    wanted: ClassName = None,
    partial: options.Partial = False,
    whole: options.Whole = False,
    form: ImageFormat = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Draw what a table says: heat maps, scatter, severity curves, divergence matrix, training curve.

    Example: vhs ablate vit.safetensors --shift imagenet-c | vhs plot -o heads.png

    Example: vhs plot heads.csv --kind conditions -o conditions.pdf

    Example: vhs plot photograph.jpg -o contact.png   (every corruption at every severity; or a shard set)

    Example: vhs plot data/imagenet/val data/imagenet-r data/imagenet-sketch --class n01443537 -o goldfish.png
    """
    console = options.console("plot", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures import gallery, style
    from vhs.formats.atomic import check_outputs, write_whole
    from vhs.formats.tables import PART

    paths = tables or ["-"]
    if any(_is_pictured(path) for path in paths):
        return _contact(paths, out, form, kind, wanted)
    name, table, part = _read(paths, model, options.reader(console, partial=partial, whole=whole))
    table = _of_fill(table, fill)
    target = out or _default_name(paths, name, [*gallery.unusual(name, kind, metric), model, fill])
    image_format = _format(target, form)
    check_outputs([target], paths)
    figure = gallery.draw(name, table, kind, metric)
    if part:
        style.mark(figure, PART)
    with style.styled():
        data = style.render(figure, image_format)
    console.detail(f"{name} table, {len(table)} rows")
    if target == Path("-"):
        if output.is_terminal():
            raise UsageError("an image is not for a terminal. Name a file with -o, or pipe it.")
        return output.write(data)
    write_whole(target, data)
    if output.is_terminal() and not quiet:
        from vhs.figures.terminal import plot_summary

        output.write(plot_summary(name, table, note=PART if part else "").encode())
    output.name_product(target)


def _is_pictured(path: str) -> bool:
    """Whether `path` is an image or a shard set, to be shown under every corruption."""
    return Path(path).is_dir() or Path(path).suffix.lower() in PICTURES


def _contact(paths: list[str], out: Path | None, form: str | None, kind: str | None, wanted: str | None) -> None:
    """The contact sheets; the only figures that need torch."""
    if kind not in (None, "contact"):
        raise UsageError(f"--kind {kind}: images and shard sets are drawn as contact.")
    several = len(paths) > 1 or wanted is not None
    if several and not all(Path(path).is_dir() for path in paths):
        raise UsageError(f"{paths[0]}: an image is drawn alone; of one class in several sets, name shard sets.")
    target = out or Path(f"{Path(paths[0]).name.split('.')[0]}.contact.png")
    image_format = _format(target, form)
    from vhs.figures import contact, style
    from vhs.formats.atomic import check_outputs, write_whole
    from vhs.runs.contact import one_class, pictures, with_regions

    check_outputs([target], paths)
    mapped = None if several else with_regions(paths[0])
    with style.styled():
        if several:
            figure = contact.side_by_side(*one_class(paths, wanted))
        else:
            figure = contact.with_regions(*mapped) if mapped else contact.sheet(*pictures(paths[0]))
        data = style.render(figure, image_format)
    if target == Path("-"):
        return output.write(data)
    write_whole(target, data)
    output.name_product(target)


def _read(paths: list[str], model: str | None, read: Callable[[str], Table]) -> tuple[str, DataFrame, bool]:
    """(kind, rows, whether one is only a part) of the tables, joined; equal rows once."""
    import polars as pl

    from vhs.formats import schemas, tables

    found = [read(path) for path in paths]
    schema = found[0].schema
    for path, (other, _, _) in zip(paths, found, strict=True):
        if other is not schema:
            raise MismatchError(f"{path}: is of kind {other.name}, {paths[0]} of kind {schema.name}. Draw them apart.")
    table = pl.concat([item.rows for item in found]).unique(maintain_order=True)
    part = any(item.part for item in found)
    if model is not None:
        table = _of_model(table, model)
    if schema is schemas.ABLATE and not part:
        tables.check_grid(table, "stdin" if paths[0] == "-" else paths[0])
    return schema.name, table, part


def _of_model(table: DataFrame, model: str) -> DataFrame:
    """The rows of one model, named in full or by its file's stem."""
    import polars as pl

    from vhs.figures.style import short

    if "model" not in table.columns:
        raise InputError(f"--model {model}: this kind of table names no models.")
    names = table["model"].unique(maintain_order=True).to_list()
    wanted = [name for name in names if model in (name, short(name))]
    if len(wanted) != 1:
        raise InputError(
            f"--model {model}: {'not' if not wanted else 'twice'} in the table, which has {choices(names)}."
        )
    return table.filter(pl.col("model") == wanted[0])


def _of_fill(table: DataFrame, fill: str | None) -> DataFrame:
    """The rows of one fill of an ablation table."""
    import polars as pl

    if fill is None:
        return table
    kinds = table["fill"].unique(maintain_order=True).to_list() if "fill" in table.columns else []
    if fill not in kinds:
        raise InputError(f"--fill {fill}: not in the table, which has {choices(kinds) if kinds else 'no fills'}.")
    return table.filter(pl.col("fill") == fill)


def _default_name(paths: list[str], name: str, words: list[str | None]) -> Path:
    """Beside the table; for stdin, named after the kind of table, here; words: what else than the usual is drawn."""
    suffix = "".join(f".{_plain(word)}" for word in words if word) + ".png"
    return Path(f"{name}{suffix}") if paths[0] == "-" else Path(paths[0]).with_suffix(suffix)


def _plain(word: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in word)


def _format(target: Path, asked: str | None) -> str:
    named = target.suffix[1:].lower()
    if asked is not None and asked not in IMAGE_FORMATS:
        raise UsageError(f"--format {asked}: expected {choices(IMAGE_FORMATS)}.")
    if target != Path("-") and named and named not in IMAGE_FORMATS:
        raise UsageError(f"{target}: expected a name that ends in .png, .pdf or .svg.")
    if asked and named in IMAGE_FORMATS and named != asked:
        raise UsageError(f"{target}: the suffix says {named} and --format says {asked}. Drop one of them.")
    return asked or (named if named in IMAGE_FORMATS else "png")
