"""`vhs report`: tables and maps to one page, or to a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vhs import completion, options, output
from vhs.errors import UsageError

Things = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE]...",
        help="Tables of any kinds, maps, and for --card a checkpoint; stdin when none is named. Folds and outcomes "
        "beside an ablation table come along.",
        show_default=False,
        autocompletion=completion.files((*completion.TABLES, ".safetensors")),
    ),
]
Page = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE", help="The page; - for stdout.  [default: report.html, without --card]"),
]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Of the page.  [default: by models]")]
Card = Annotated[
    Path | None,
    typer.Option("--card", metavar="FILE", help="Write a model card in Hugging Face's format, README.md."),
]


def report(
    things: Things = None,
    out: Page = None,
    card: Card = None,
    title: Title = None,
    partial: options.Partial = False,
    whole: options.Whole = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Put all that tables and maps say on one page that needs no network; what is shown is scored anew by choice.

    Example: vhs report heads.csv shift.csv looks.csv maps.safetensors -o report.html

    Example: vhs report vit.safetensors heads.csv shift.csv --card README.md
    """
    console = options.console("report", quiet=quiet, verbose=False, debug=debug)
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
