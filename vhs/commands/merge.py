"""`vhs merge`: the parts of a run, added to what the whole run gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vhs import completion, options, output
from vhs.commands import sharing
from vhs.errors import UsageError

if TYPE_CHECKING:
    from vhs.output import TableOutput
    from vhs.records.merging import Merged

Parts = Annotated[
    list[str],
    typer.Argument(
        metavar="PART...", help="All parts of one run, in any order; @FILE lists them.", show_default=False,
        autocompletion=completion.files((completion.PART,)),
    ),
]  # fmt: skip
Folds = Annotated[
    str | None,
    typer.Option(
        "--folds", metavar="FILE", help="Of ablate: tallies by fold; - sends them down the pipe instead of the table.  "
        "[default: OUT.folds.parquet with -o]",
    ),
]  # fmt: skip
Calibration = Annotated[
    str | None, typer.Option("--calibration", metavar="FILE", help="The same of evalshift: confidence bins.")
]
Pairs = Annotated[
    str | None, typer.Option("--pairs", metavar="FILE", help="The same of specialize: divergences between heads.")
]
PerSample = Annotated[
    Path | None,
    typer.Option("--per-sample", metavar="FILE", help="Outcomes, where the parts were made with --per-sample."),
]


def merge(
    parts: Parts,
    out: options.Out = None,
    form: options.Format = None,
    folds: Folds = None,
    calibration: Calibration = None,
    pairs: Pairs = None,
    per_sample: PerSample = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Add the parts of a run (--part of ablate, evalshift and specialize): the tables of the whole, byte for byte.

    Example: vhs merge heads.*.part -o heads.csv

    Example: vhs merge heads.*.part --folds - | vhs compare
    """
    console = options.console("merge", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.formats import part_file
    from vhs.formats.atomic import check_outputs
    from vhs.formats.reference_names import listed
    from vhs.records import merging

    paths = listed(parts, "parts")
    merged = merging.merge([part_file.read(Path(path)) for path in paths])
    named = {"folds": folds, "calibration": calibration, "pairs": pairs}
    products = _products(merged, out, form, named)
    if per_sample is not None:
        products |= _outcomes(merged, per_sample)
    check_outputs([table.out for table in products.values()], paths)
    if merged.skipped:
        console.note(f"{len(merged.skipped)} bad samples skipped; the first: {merged.skipped[0]}")
    _fill(merged, products)
    main, *beside = products.values()
    said = {**named, "format": form}
    output.finish(main, *beside, provenance=_provenance(merged, out, said))


def _products(
    merged: Merged, out: Path | None, form: str | None, named: dict[str, str | None]
) -> dict[str, TableOutput]:  # fmt: skip
    """Where each table goes, the main one first. Raises UsageError for an option of another command."""
    from vhs.figures.terminal import summary

    main, beside = merged.kind.main, merged.kind.beside
    instead = beside.option if beside is not None and "summary" not in merged.asked else ""
    lone = next((option for option, value in named.items() if value is not None and option != instead), None)
    if lone is not None:
        raise UsageError(f"--{lone}: these are parts of `vhs {merged.kind.command}`, whose table has none.")
    wanted = named.get(instead)
    if beside is not None and wanted == "-":
        return {beside.name: output.TableOutput(beside.schema, out, form, None if instead == "folds" else summary)}
    found = {main.name: output.TableOutput(main.schema, out, form, summary)}
    if beside is not None and instead:
        further = output.companion(beside.schema, out, wanted, instead)
        found |= {beside.name: further} if further is not None else {}
    return found


def _outcomes(merged: Merged, target: Path) -> dict[str, TableOutput]:
    from vhs.formats.schemas import OUTCOMES

    if not merged.record.outcomes:
        raise UsageError("--per-sample: these parts hold no outcomes. Run them again with --per-sample FILE.")
    return {"outcomes": output.TableOutput(OUTCOMES, target, None)}


def _fill(merged: Merged, products: dict[str, TableOutput]) -> None:
    """The rows of all conditions, or the summary that was asked for."""
    if merged.asked:
        from vhs.records.evaluation import summary_of
        from vhs.summary import Asked

        found = summary_of(merged.record, list(merged.tables()), Asked(**merged.asked))
        return products[merged.kind.main.name].add(found)
    for tables in merged.tables():
        for name, table in products.items():
            if len(getattr(tables, name)):
                table.add(getattr(tables, name))


def _provenance(merged: Merged, out: Path | None, said: dict[str, str | None]) -> dict[str, Any]:
    """As the whole run would record it; its command without --part, with this output and what else was said here."""
    info = merged.parts[0].info
    beside = [word for option, value in said.items() if value is not None for word in (f"--{option}", value)]
    command = sharing.typed_as_whole(info.typed, out, beside) if info.typed else output.command_line()
    return info.provenance | {"command": command}
