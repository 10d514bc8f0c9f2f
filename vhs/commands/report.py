"""`vhs report`: tables and maps to one page, to a model card, or into a template."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vhs import completion, options, output
from vhs.console import Console
from vhs.errors import UsageError

if TYPE_CHECKING:
    from vhs.reports.opening import Read

Things = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE]...",
        help="Tables of any kinds, maps, and for --card a checkpoint; stdin when none is named. Folds and outcomes "
        "beside an ablation table come along. For --template tables, each named by its file or by NAME=FILE.",
        show_default=False,
        autocompletion=completion.files((*completion.TABLES, ".safetensors")),
    ),
]
Page = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", metavar="FILE",
        help="The page; - for stdout.  [default: report.html, without --card; of --template its name without .jinja]",
    ),
]  # fmt: skip
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Of the page.  [default: by models]")]
Card = Annotated[
    Path | None,
    typer.Option("--card", metavar="FILE", help="Write a model card in Hugging Face's format, README.md."),
]
Template = Annotated[
    Path | None,
    typer.Option(
        "--template", metavar="FILE", autocompletion=completion.files((".jinja", ".j2")),
        help="Text of any format, with {{ … }} for what comes from the tables: write that page.",
    ),
]  # fmt: skip
Define = Annotated[
    list[str] | None,
    typer.Option(
        "--define", metavar="NAME=VALUE", help="Of --template: a value that it has by this name, such as how many "
        "seeds there were. Repeats.",
    ),
]  # fmt: skip


def report(
    things: Things = None,
    out: Page = None,
    card: Card = None,
    title: Title = None,
    template: Template = None,
    define: Define = None,
    partial: options.Partial = False,
    whole: options.Whole = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Put all that tables and maps say on one page that needs no network; what is shown is scored anew by choice.

    Example: vhs report heads.csv shift.csv looks.csv maps.safetensors -o report.html

    Example: vhs report vit.safetensors heads.csv shift.csv --card README.md

    Example: vhs report heads.csv wide=wide/heads.csv --template paper.md.jinja -o paper.md
    """
    console = options.console("report", quiet=quiet, verbose=False, debug=debug)
    if template is not None:
        from vhs.reports import filled

        filled.check_alone(card, title)
        read = options.reader(console, partial=partial, whole=whole)
        defined = filled.definitions(define or [])
        return _fill((template, defined), things or ["-"], out, console=console, read=read)
    if define:
        raise UsageError("--define: is of --template, which is not given.")
    from vhs.formats.atomic import check_outputs, write_whole
    from vhs.reports import model_card, opening, page

    things = things or ["-"]
    target = out or (Path("report.html") if card is None else None)
    if target is not None and target != Path("-") and target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{target}: expected a name that ends in .html.")
    if card is not None and card.suffix.lower() != ".md":
        raise UsageError(f"--card {card}: expected a name that ends in .md.")
    check_outputs([target, card], things)
    named = opening.open_named(things, options.reader(console, partial=partial, whole=whole), console.note)
    if card is not None:
        write_whole(card, model_card.render(named, output.command_line()))
        output.name_product(card)
    if target is None:
        return
    data = page.render(named, title, output.command_line())
    if target == Path("-"):
        return output.write(data)
    write_whole(target, data)
    output.name_product(target)


def _fill(
    page: tuple[Path, dict[str, str]], things: list[str], out: Path | None, *, console: Console, read: Read
) -> None:
    """The page of a template and of what is defined for it. read: what reads its tables."""
    template, defined = page
    from vhs.formats.atomic import check_outputs, write_whole
    from vhs.reports import filled, named_tables

    target = out or filled.name_of_page(template)
    sources = named_tables.named(things)
    check_outputs([target], [str(template), *sources.values()])
    data = filled.render(template, named_tables.NamedTables(sources, read, console.note), defined)
    if target == Path("-"):
        return output.write(data)
    write_whole(target, data)
    output.name_product(target)
