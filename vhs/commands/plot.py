"""`vhs plot`: a table to a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs import completion, options, output
from vhs.commands import plot_options as own
from vhs.errors import UsageError, choices

if TYPE_CHECKING:
    from collections.abc import Callable

    from polars import DataFrame

    from vhs.figures.map_cells import Wanted as MapsWanted
    from vhs.formats.map_file import MapFile
    from vhs.formats.tables import Table


def plot(
    tables: own.Tables = None,
    out: own.Figure = None,
    kind: own.Kind = None,
    metric: own.Metric = None,
    model: own.ModelName = None,
    fill: own.FillName = None,
    wanted: own.ClassName = None,
    shift: own.Shifts = None,
    head: own.Heads = None,
    layer: own.Layer = None,
    query: own.Query = None,
    weighting: own.Weighting = "attention",
    width: own.Width = None,
    font_size: own.FontSize = None,
    panel: own.PanelName = None,
    title: own.Title = None,
    group_by: own.GroupBy = None,
    partial: options.Partial = False,
    whole: options.Whole = False,
    form: own.ImageFormat = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Draw what a table says: heat maps, scatter, severity curves, divergence matrix; or maps of what heads look at.

    Example: vhs ablate vit.safetensors --shift imagenet-c | vhs plot -o heads.png

    Example: vhs plot heads.csv --kind conditions --width column -o conditions.pdf

    Example: vhs plot heads.csv --format tex   (the table behind the figure)

    Example: vhs plot maps.safetensors --kind conditions --head L3H1 -o L3H1.png

    Example: vhs plot heads.csv roles.csv looks.csv maps.safetensors --kind card --head L3H1   (all about one head)

    Example: vhs plot photograph.jpg -o contact.png   (every corruption at every severity; or a shard set)

    Example: vhs plot photograph.jpg --shift imagenet-c-bar -o c-bar.png

    Example: vhs plot data/imagenet/val data/imagenet-r data/imagenet-sketch --class n01443537 -o goldfish.png
    """
    console = options.console("plot", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures import gallery, paper, selection, style
    from vhs.formats.atomic import check_outputs
    from vhs.formats.tables import PART

    paths = tables or ["-"]
    page = paper.parse(width, font_size, panel, title, group_by)
    with paper.drawn_for(page):
        if any(options.is_pictured(path) for path in paths):
            return _contact(paths, (out, form), kind, wanted, shift or [])
        if shift:
            raise UsageError(f"--shift {shift[0]}: is of an image; a table has the shifts that were measured.")
        read = options.reader(console, partial=partial, whole=whole)
        if kind == own.CARD:
            return _card(paths, out, form, head, model, read)
        maps = _maps(paths)
        if maps is not None:
            from vhs.figures import map_cells

            named = [selection.strongest_head(read(name)) if _is_table(name) else name for name in head or []]
            return _draw_maps(maps, paths, out, form, kind, map_cells.parse(named, layer, query, weighting))
        _refuse_map_options(head, layer, query)
        name, table, part = selection.select_rows([read(path) for path in paths], paths, model, fill)
        beside = selection.folds_beside(name, paths, read, console.note)
        if _is_text(out, form):
            return _write_text(name, table, (kind, metric), out, form, beside, paths)
        target = out or _default_name(paths, name, [*gallery.unusual(name, kind, metric), panel, model, fill])
        image_format = _format(target, form)
        check_outputs([target], paths)
        figure = gallery.draw(name, table, kind, metric, beside)
        if part:
            style.mark(figure, PART)
        console.detail(f"{name} table, {len(table)} rows")
        _write(figure, target, image_format)
        if target != Path("-"):
            if output.is_terminal() and not quiet:
                from vhs.figures.terminal import plot_summary

                output.write(plot_summary(name, table, note=PART if part else "").encode())
            output.name_product(target)


def _is_text(out: Path | None, form: str | None) -> bool:
    return form in own.TEXT_FORMATS or (form is None and out is not None and out.suffix[1:].lower() in own.TEXT_FORMATS)


def _write_text(
    name: str, table: DataFrame, drawn: tuple[str | None, str | None], out: Path | None, form: str | None,
    folds: DataFrame | None, paths: list[str],
) -> None:  # fmt: skip
    """The table behind the figure: on stdout, or in -o."""
    from vhs.figures import behind
    from vhs.formats.atomic import check_outputs, write_whole

    named = out.suffix[1:].lower() if out is not None else ""
    if form is not None and named and named != form:
        raise UsageError(f"{out}: the suffix says {named} and --format says {form}. Drop one of them.")
    data = behind.render(name, table, *drawn, form or named, folds).encode()
    if out is None or out == Path("-"):
        return output.write(data)
    check_outputs([out], paths)
    write_whole(out, data)
    output.name_product(out)


def _card(
    paths: list[str], out: Path | None, form: str | None, head: list[str] | None, model: str | None,
    read: Callable[[str], Table],
) -> None:  # fmt: skip
    """All that tables of several kinds and maps say of one head."""
    from vhs.figures import card, map_cells, selection
    from vhs.formats import map_file
    from vhs.formats.atomic import check_outputs

    if not head or len(head) != 1:
        raise UsageError("--kind card: is of one head. Name it with --head L3H1.")
    maps = [map_file.read(Path(path)) for path in paths if path.endswith(".safetensors")]
    found = [(path, read(path)) for path in paths if not path.endswith(".safetensors")]
    tables = selection.by_kind([table for _, table in found], [path for path, _ in found], model)
    named = selection.strongest_head(read(head[0])) if _is_table(head[0]) else head[0]
    place = map_cells.parse([named], None, None, "attention").heads[0]
    target = out or _default_name(paths, own.CARD, [own.CARD, named])
    image_format = _format(target, form)
    check_outputs([target], paths)
    _write(card.draw(tables, maps, place), target, image_format)
    if target != Path("-"):
        output.name_product(target)


def _maps(paths: list[str]) -> list[MapFile] | None:
    """The maps files that are named, or the one that comes through the pipe; None for tables.

    Raises UsageError where maps and tables are named together.
    """
    from vhs.formats import map_file, stdin

    are = [stdin.is_safetensors() if path == "-" else path.endswith(".safetensors") for path in paths]
    if not any(are):
        return None
    if not all(are):
        raise UsageError(f"{paths[are.index(False)]}: is no maps file; maps and tables are drawn apart.")
    return [
        map_file.from_bytes(stdin.read_stdin("maps"), "stdin") if path == "-" else map_file.read(Path(path))
        for path in paths
    ]


def _is_table(name: str) -> bool:
    return name.endswith(completion.TABLES)


def _draw_maps(
    files: list[MapFile], paths: list[str], out: Path | None, form: str | None, kind: str | None, wanted: MapsWanted
) -> None:  # fmt: skip
    from vhs.figures import maps
    from vhs.formats.atomic import check_outputs

    target = out or _default_name(paths, "maps", [kind, *(f"L{layer}H{head}" for layer, head in wanted.heads)])
    image_format = _format(target, form)
    check_outputs([target], paths)
    _write(maps.draw(files, kind, wanted), target, image_format)
    if target != Path("-"):
        output.name_product(target)


def _refuse_map_options(head: list[str] | None, layer: int | None, query: str | None) -> None:
    given = {"--head": head, "--layer": layer, "--query": query}
    lone = next((name for name, value in given.items() if value not in (None, [])), None)
    if lone is not None:
        raise UsageError(f"{lone}: is of maps files, which `vhs specialize MODEL --maps FILE` writes.")


def _contact(
    paths: list[str], to: tuple[Path | None, str | None], kind: str | None, wanted: str | None, shifts: list[str]
) -> None:
    """The contact sheets; the only figures that need torch. to: -o and --format."""
    out, form = to
    target = out or Path(f"{Path(paths[0]).name.split('.')[0]}.contact.png")
    image_format = _format(target, form)
    from vhs.formats.atomic import check_outputs
    from vhs.viewing import contact

    check_outputs([target], paths)
    _write(contact.figure(paths, wanted, kind, shifts), target, image_format)
    if target != Path("-"):
        output.name_product(target)


def _write(figure: Any, target: Path, image_format: str) -> None:
    """The image in its file, or down the pipe."""
    from vhs.figures import style
    from vhs.formats.atomic import write_whole

    data = style.render(figure, image_format)
    if target != Path("-"):
        return write_whole(target, data)
    if output.is_terminal():
        raise UsageError("an image is not for a terminal. Name a file with -o, or pipe it.")
    output.write(data)


def _default_name(paths: list[str], name: str, words: list[str | None]) -> Path:
    """Beside the table; for stdin, named after the kind of table, here; words: what else than the usual is drawn."""
    suffix = "".join(f".{_plain(word)}" for word in words if word) + ".png"
    return Path(f"{name}{suffix}") if paths[0] == "-" else Path(paths[0]).with_suffix(suffix)


def _plain(word: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in word)


def _format(target: Path, asked: str | None) -> str:
    named = target.suffix[1:].lower()
    if asked is not None and asked not in own.IMAGE_FORMATS:
        of_tables = " (tex and md are of tables)" if asked in own.TEXT_FORMATS else ""
        raise UsageError(f"--format {asked}: expected {choices(own.IMAGE_FORMATS)}{of_tables}.")
    if target != Path("-") and named and named not in own.IMAGE_FORMATS:
        raise UsageError(f"{target}: expected a name that ends in .png, .pdf or .svg, of tables also .tex or .md.")
    if asked and named in own.IMAGE_FORMATS and named != asked:
        raise UsageError(f"{target}: the suffix says {named} and --format says {asked}. Drop one of them.")
    return asked or (named if named in own.IMAGE_FORMATS else "png")
