"""`vhs compare`: do the heads that matter here matter there? Tables in, tables out, no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vhs import completion, options, output
from vhs.commands import summarising
from vhs.errors import MismatchError, UsageError, choices
from vhs.formats.schemas import (
    ABLATE,
    COMPARE,
    CONTRAST,
    ESTIMATED,
    ESTIMATES,
    EVALSHIFT,
    OUTCOMES,
    REDUNDANCY,
    ROLLUP,
    VERSUS,
    Schema,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from vhs.formats.tables import Table

SCALES = ("accuracy", "lost_rate", "loss", "log_odds")
MADE_BY = {
    "ablate": "`vhs ablate` writes it.",
    "estimates": "`vhs ablate --method taylor` writes it.",
    "evalshift": "`vhs evalshift` writes it.",
    "outcomes": "`vhs ablate --per-sample FILE` writes it.",
}

Tables = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TABLE]...", help="Ablation tables with their .folds.parquet beside them, or folds tables; "
        "stdin when none is named.", show_default=False, autocompletion=completion.files(completion.TABLES),
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
    typer.Option(
        "--scale",
        metavar="SCALE",
        autocompletion=completion.words(SCALES),
        help=f"{choices(SCALES)}; repeats.  [default: accuracy and loss]",
    ),
]
Summary = Annotated[
    str | None,
    typer.Option(
        "--summary", metavar="KIND", autocompletion=completion.words(("rollup", "redundancy", "mce", "groups")),
        help="Of folds: rollup (heads over severities, categories, families), redundancy "
        "(how many are dispensable). Of shift tables: mce, groups.",
    ),
]  # fmt: skip
Against = Annotated[
    str | None,
    typer.Option(
        "--against", metavar="FILE", help="Of outcomes (ablate --per-sample): another model's, paired by sample."
    ),
]
Exact = Annotated[
    str | None,
    typer.Option("--exact", metavar="FILE", help="Of estimates (ablate --method taylor): the exact ablation table."),
]
Tolerance = Annotated[
    float,
    typer.Option(
        "--tolerance",
        metavar="SHARE",
        min=0,
        max=1,
        help="Of --summary redundancy: drop in accuracy (.005: half a point) below which a head is dispensable.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the random halves and permutations.")]


def compare(
    tables: Tables = None,
    out: options.Out = None,
    contrast: Contrast = None,
    scale: Scales = None,
    partial: options.Partial = False,
    whole: options.Whole = False,
    form: options.Format = None,
    summary: Summary = None,
    tolerance: Tolerance = 0.005,
    normalise_by: summarising.NormaliseBy = None,
    against: Against = None,
    exact: Exact = None,
    seed: Seed = 0,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Compare head importances, clean against each shift: rank correlation with its ceiling, and contrasts.

    Example: vhs ablate vit.safetensors --shift contrast --folds - | vhs compare

    Example: vhs compare heads.csv -o agreement.csv

    Example: vhs compare heads.csv --summary rollup -o rollup.csv

    Example: vhs compare a.outcomes.parquet --against b.outcomes.parquet

    Example: vhs compare shift.csv --summary mce --normalise-by baseline.csv -o mce.csv
    """
    console = options.console("compare", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.figures.terminal import summary as in_words
    from vhs.formats.atomic import check_outputs
    from vhs.summaries import comparison

    paths = tables or ["-"]
    read = options.reader(console, partial=partial, whole=whole)
    told = _told(paths, read, summary, normalise_by, against, exact, tolerance, scale or ["accuracy", "loss"], seed)
    if told:
        main = output.TableOutput(told[0], out, form, in_words)
        check_outputs([out], [*(tables or []), *(name for name in (normalise_by, against, exact) if name)])
        main.add(told[1]())
        return output.finish(main)
    scales = _checked(scale or ["accuracy", "loss"])
    instead = contrast == "-"
    main = output.TableOutput(CONTRAST if instead else COMPARE, out, form, in_words)
    beside = output.companion(CONTRAST, out, contrast, "contrast")
    check_outputs([out, beside.out if beside else None], tables or [])
    folds = comparison.read_folds(paths, read)
    for name in comparison.unpaired(folds):
        console.note(
            f"{name}: was measured on other samples than clean: correlations only, since contrasts pair by image"
        )
    with console.progress() as progress:
        if not instead:
            main.add(comparison.correlations(folds, scales, seed=seed, progress=progress))
        if instead or beside:
            (main if instead else beside).add(comparison.contrasts(folds, scales))  # type: ignore[union-attr]
    output.finish(main, beside)


def _told(
    paths: list[str], read: Callable[[str], Table], summary: str | None, normalise_by: str | None, against: str | None,
    exact: str | None, tolerance: float, scales: list[str], seed: int,
) -> tuple[Schema, Callable[[], pl.DataFrame]] | None:  # fmt: skip
    """What else than correlations is asked for: its table's kind, and what makes it."""
    from vhs.runs import estimates
    from vhs.summaries import comparison, rollup, versus

    if exact is not None:
        return ESTIMATED, lambda: estimates.beside_exact(
            _joined(paths, read, ESTIMATES), _joined([exact], read, ABLATE)
        )
    if against is not None:
        if summary is not None:
            raise UsageError("--against: has no place beside --summary. Run them apart.")
        return VERSUS, lambda: versus.versus(_joined(paths, read, OUTCOMES), _joined([against], read, OUTCOMES))
    if summary == "rollup":
        return ROLLUP, lambda: rollup.rollups(comparison.read_folds(paths, read), _checked(scales))
    if summary == "redundancy":
        return REDUNDANCY, lambda: rollup.redundancies(comparison.read_folds(paths, read), tolerance, seed=seed)
    asked = summarising.schema(summary, normalise_by, also=("rollup", "redundancy"))
    if asked is None:
        return None
    return asked, lambda: summarising.summarise(asked, _joined(paths, read, EVALSHIFT), normalise_by)


def _checked(scales: list[str]) -> list[str]:
    for name in scales:
        if name not in SCALES:
            raise UsageError(f"--scale {name}: expected {choices(SCALES)}.")
    return scales


def _joined(paths: list[str], read: Callable[[str], Table], wanted: Schema) -> pl.DataFrame:
    """The rows of tables of one kind, equal ones once."""
    import polars as pl

    found = [(path, read(path)) for path in paths]
    for path, (schema, _, _) in found:
        if schema is not wanted:
            raise MismatchError(f"{path}: is of kind {schema.name}; expected {wanted.name}. {MADE_BY[wanted.name]}")
    return pl.concat([table.rows for _, table in found]).unique(maintain_order=True)
