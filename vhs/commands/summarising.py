"""What `evalshift` and `compare` share: summaries of a shift table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vhs import completion
from vhs.errors import UsageError, choices
from vhs.formats.schemas import GROUPS, MCE, Schema

if TYPE_CHECKING:
    import polars as pl

    from vhs.summaries.mce import Folds
    from vhs.summaries.worst_groups import Shares

SUMMARIES = {"mce": MCE, "groups": GROUPS}

Summary = Annotated[
    str | None,
    typer.Option(
        "--summary",
        metavar="mce|groups",
        autocompletion=completion.words(tuple(SUMMARIES)),
        help="Instead of the rows: corruption errors (by corruption, category, all), "
        "or the worst group and averages over groups.",
    ),
]
NormaliseBy = Annotated[
    str | None,
    typer.Option(
        "--normalise-by", metavar="TABLE", help="Of --summary mce: a shift table of one model, alexnet or none.  "
        "[default: alexnet for 1,000 classes at 224 px, else none]",
    ),
]  # fmt: skip


def schema(summary: str | None, normalise_by: str | None, also: tuple[str, ...] = ()) -> Schema | None:
    """The table that is asked for; None without --summary. Raises UsageError, which names `also` too."""
    if normalise_by is not None and summary != "mce":
        raise UsageError("--normalise-by: belongs to --summary mce.")
    if summary is not None and summary not in SUMMARIES:
        raise UsageError(f"--summary {summary}: expected {choices([*SUMMARIES, *also])}.")
    return SUMMARIES[summary] if summary else None


def summarise(
    asked: Schema, shift: pl.DataFrame, normalise_by: str | None, *, classes: int | None = None,
    folds: Folds | None = None, shares: Shares | None = None,
) -> pl.DataFrame:  # fmt: skip
    """The summary `asked` for of a shift table.

    classes: how many the data has; shares: training samples by attribute and value; where known.
    """
    from vhs.summaries import mce, worst_groups

    if asked is GROUPS:
        return worst_groups.summarise(shift, shares or {})

    return mce.summarise(shift, mce.normaliser(normalise_by, shift, classes=classes), folds)
