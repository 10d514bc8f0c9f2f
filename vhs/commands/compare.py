"""`vhs compare`: do the heads that matter here matter there? Tables in, tables out, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vhs import options, output
from vhs.commands import summarising
from vhs.errors import MismatchError, UsageError, choices
from vhs.formats.schemas import COMPARE, CONTRAST, EVALSHIFT, Schema

if TYPE_CHECKING:
    import polars as pl

SCALES = ("accuracy", "lost_rate", "loss", "log_odds")

Tables = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TABLE]...", help="Ablation tables with their .folds.parquet beside them, or folds tables; "
        "stdin when none is named.", show_default=False,
    ),
]  # fmt: skip
Contrast = Annotated[
    str | None,
    typer.Option(
        "--contrast", metavar="FILE", help="Contrasts head by head; - sends them down the pipe instead.  "
        "[default: OUT.contrast.parquet with -o]",
    ),
]  # fmt: skip
Scales = Annotated[
    list[str] | None,
    typer.Option("--scale", metavar="SCALE", help=f"{choices(SCALES)}; repeats.  [default: accuracy and loss]"),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the random halves and permutations.")]


def compare(
    tables: Tables = None,
    out: options.Out = None,
    contrast: Contrast = None,
    scale: Scales = None,
    form: options.Format = None,
    summary: summarising.Summary = None,
    normalise_by: summarising.NormaliseBy = None,
    seed: Seed = 0,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Compare head importances, clean against each shift: rank correlation with its ceiling, and contrasts.

    Example: vhs ablate vit.safetensors --shift contrast --folds - | vhs compare

    Example: vhs compare heads.csv -o agreement.csv

    Example: vhs compare shift.csv --summary mce --normalise-by baseline.csv -o mce.csv
    """
    console = options.console("compare", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures.terminal import summary as in_words
    from vhs.formats.atomic import check_outputs
    from vhs.runs import comparison

    asked = summarising.schema(summary, normalise_by)
    if asked:
        main = output.TableOutput(asked, out, form, in_words)
        check_outputs([out], [*(tables or []), *([normalise_by] if normalise_by else [])])
        main.add(summarising.summarise(asked, _shift_tables(tables or ["-"], asked), normalise_by))
        return main.finish()
    scales = scale or ["accuracy", "loss"]
    for name in scales:
        if name not in SCALES:
            raise UsageError(f"--scale {name}: expected {choices(SCALES)}.")
    instead = contrast == "-"
    main = output.TableOutput(CONTRAST if instead else COMPARE, out, form, in_words)
    beside = output.companion(CONTRAST, out, contrast, "contrast")
    check_outputs([out, beside.out if beside else None], tables or [])
    folds = comparison.read_folds(tables or ["-"])
    for name in comparison.unpaired(folds):
        console.note(f"{name}: was measured on other samples than clean and is left out; pairing is by image")
    with console.progress() as progress:
        if not instead:
            main.add(comparison.correlations(folds, scales, seed=seed, progress=progress))
        if instead or beside:
            (main if instead else beside).add(comparison.contrasts(folds, scales))  # type: ignore[union-attr]
    if beside:
        beside.finish()
    main.finish()


def _shift_tables(paths: list[str], asked: Schema) -> pl.DataFrame:
    import polars as pl

    from vhs.formats import tables as reader

    read = [(path, *reader.read(path)) for path in paths]
    for path, schema, _ in read:
        if schema is not EVALSHIFT:
            raise MismatchError(
                f"{path}: is of kind {schema.name}; {asked.name} is of shift tables. `vhs evalshift` writes them."
            )
    return pl.concat([table for _, _, table in read]).unique(maintain_order=True)
