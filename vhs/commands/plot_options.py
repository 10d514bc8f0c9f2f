"""The options of `vhs plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vhs import completion, options
from vhs.measures.fill_kinds import FILLS

WEIGHTINGS = ("attention", "value")
IMAGE_FORMATS, TEXT_FORMATS = ("png", "pdf", "svg"), ("tex", "md")
CARD = "card"

Tables = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TABLE]...",
        help="Tables of one kind, or maps; stdin when none is named.",
        show_default=False,
        autocompletion=completion.files((*completion.TABLES, *options.PICTURES)),
    ),
]
Kind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        autocompletion=completion.kinds,
        help="heads, scatter, conditions, … by table; card: all about one head.",
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
Shifts = Annotated[
    list[str] | None,
    typer.Option(
        "--shift",
        metavar="SHIFT",
        autocompletion=completion.shifts,
        help="Of an image: under these corruptions, a family (imagenet-c-bar), a category or one. Repeats.  [default: "
        "the 19 of ImageNet-C]",
    ),
]
Heads = Annotated[
    list[str] | None,
    typer.Option(
        "--head",
        metavar="L3H1",
        help="Of maps and cards: this head, or the most important one of an ablation table. Of maps it repeats.",
    ),
]
Layer = Annotated[int | None, typer.Option("--layer", metavar="N", min=0, help="Of maps: the heads of this layer.")]
Query = Annotated[
    str | None,
    typer.Option("--query", metavar="ROW,COLUMN", help="Of maps made with --full: what this patch looks at."),
]
Weighting = Annotated[
    str,
    typer.Option(
        "--weighting", metavar="W", autocompletion=completion.words(WEIGHTINGS), help="Of maps: attention, or value, "
        "which is attention times the norm of what it brings.",
    ),
]  # fmt: skip
ClassName = Annotated[
    str | None, typer.Option("--class", metavar="NAME", help="Of shard sets: images of this class, a row a set.")
]
ImageFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        autocompletion=completion.words((*IMAGE_FORMATS, *TEXT_FORMATS)),
        help="png, pdf or svg; tex or md for the table behind the figure.  [default: by suffix, or png]",
    ),
]
Width = Annotated[
    str | None,
    typer.Option("--width", metavar="WIDTH", autocompletion=completion.words(("column", "page")), help="For a page: "
                 "column (3.25 inches), page (6.875) or inches; the figure flows anew.  [default: what it needs]"),
]  # fmt: skip
FontSize = Annotated[
    float | None, typer.Option("--font-size", metavar="POINTS", help="Of the letters.  [default: by --width]")
]
PanelName = Annotated[
    str | None, typer.Option("--panel", metavar="NAME", help="Only this panel of the figure, by its name.")
]
Title = Annotated[
    str | None, typer.Option("--title", metavar="TEXT", help="Above the figure; '' for none.  [default: whose it is]")
]
GroupBy = Annotated[
    str | None,
    typer.Option("--group-by", metavar="REGEX", help="One line a group of models, such as the seeds of a recipe: those "
                 "of which REGEX (its first bracket) matches the same."),
]  # fmt: skip
Figure = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="FILE", help="The figure; - for its bytes on stdout.  [default: by table]"),
]
