"""Runs that keep what is finished, and parts of them, as functions; a part of `vhs.notebook`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from vhs import accepted
from vhs.accepted import Ablated, Data, Shifted, Specialized
from vhs.console import Talk, spoken
from vhs.errors import UsageError
from vhs.formats import part_file
from vhs.formats.atomic import write_whole
from vhs.formats.references import Loaded
from vhs.formats.tables import frame
from vhs.records import merging
from vhs.records.evaluation import summary_of
from vhs.records.kinds import KINDS
from vhs.records.record import SPECIALIZE
from vhs.runs import journal, opening, parts
from vhs.runs.journal import Keeping
from vhs.runs.opening import Options
from vhs.runs.recording import Measured
from vhs.runs.run import Run
from vhs.summary import Asked
from vhs.world import Part, is_first, parse_part


def merge(
    *sources: str | Path | Sequence[str | Path], quiet: bool = False
) -> Ablated | Shifted | Specialized | pl.DataFrame:  # fmt: skip
    """The parts of a run added, as `vhs merge`: what the function gives that measured them; a frame of matches."""
    with spoken(quiet=quiet) as talk:
        paths = list(_named(sources))
        if not paths:
            raise UsageError("vhs.merge: names no part. Give the files of all parts of a run.")
        merged = merging.merge([part_file.read(path) for path in paths])
        if merged.skipped:
            talk.note(f"{len(merged.skipped)} bad samples skipped; the first: {merged.skipped[0]}")
        found = list(merged.tables())
        if merged.kind.command == "ablate":
            return Ablated(*(pl.concat(getattr(tables, name) for tables in found) for name in Ablated._fields))
        if merged.kind.command == "evalshift":
            rows = pl.concat(tables.rows for tables in found)
            if merged.asked:
                rows = summary_of(merged.record, found, Asked(**merged.asked))
            return Shifted(rows, pl.concat(tables.bins for tables in found))
        if merged.record.measured == SPECIALIZE:
            return Specialized(*(pl.concat(getattr(tables, name) for tables in found) for name in Specialized._fields))
        return pl.concat(tables.rows for tables in found)


def _named(sources: Sequence[Any]) -> Iterator[Path]:
    """Raises UsageError for what names no file."""
    for given in sources:
        for path in [given] if isinstance(given, str | Path) else given if isinstance(given, list | tuple) else [None]:
            if not isinstance(path, str | Path):
                raise UsageError(f"vhs.merge: takes the files of parts, or lists of them; found {given!r:.60}.")
            yield Path(path)


@contextmanager
def opened(
    models: list[str | Loaded], data: Data, asked: Options, talk: Talk, *, keep: str | Path | None, resume: bool
) -> Iterator[tuple[Run, Keeping]]:  # fmt: skip
    """A run, and where its finished conditions are kept until the block ends well."""
    new_tile = asked.tile is not None
    with journal.keep(accepted.path(keep), resume=resume, new_tile=new_tile, note=talk.note) as keeping:
        place = accepted.data(data)
        yield opening.open_named(models, place, asked, progress=talk.progress, note=talk.note), keeping
        keeping.discard()


def share(part: str | None, keep: str | Path | None) -> Part | None:
    """Which part is asked for. Raises UsageError where its file is not named."""
    found = parse_part(part)
    if found is not None and keep is None:
        raise UsageError(f"--part {found}: is kept in a file. Name it in keep.")
    return found


def asked_of(summary: str | None, normalise_by: Any) -> dict[str, Any]:
    """What `merge` makes of all parts. Raises UsageError for a frame, which a part cannot keep."""
    if not isinstance(normalise_by, str | Path | None):
        raise UsageError("--normalise-by: a part keeps the name of a file, no frame. Name one.")
    named = None if normalise_by is None else str(normalise_by)
    return {} if summary is None else {"summary": summary, "normalise_by": named}


def write(
    measured: Measured, run: Run, keeping: Keeping, asked: dict[str, Any] | None = None
) -> list[pl.DataFrame]:  # fmt: skip
    """Measure a part and keep it, unless it is resumed and there; the tables of its kind, without rows."""
    path = keeping.out
    assert path is not None
    if not (keeping.resume and parts.is_complete(path, measured, asked)):
        content = parts.collect(measured, run.provenance(), asked=asked)
        if is_first():
            write_whole(path, content)
    kind = KINDS[measured.record.measured]
    return [frame(product.schema, []) for product in (kind.main, kind.beside) if product]
