"""Data on stdout or in the file named with -o; nothing else is written there."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs.errors import UsageError, VhsError
from vhs.world import is_first

if TYPE_CHECKING:
    import polars as pl

    from vhs.formats.schemas import Schema


class ClosedPipe(Exception):
    """The reader of stdout has gone (`| head`); the command ends at once, quietly and well."""


def is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def write(data: bytes) -> None:
    """Write all of `data` to stdout now, whatever buffering the environment asks for.

    Raises ClosedPipe when nobody reads any more, VhsError when the device is full.
    """
    if not is_first():
        return
    if sys.stdout is None:
        raise VhsError("stdout: is closed. Name a file with -o.")
    view = memoryview(data)
    try:
        sys.stdout.flush()
        while view:
            view = view[os.write(sys.stdout.fileno(), view) :]
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise ClosedPipe from None
        raise VhsError(f"stdout: cannot be written: {error.strerror}.") from error


def abandon() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)


class TableOutput:
    """Where one table goes: a file, written whole at the end; stdout, by part; or a terminal, summarised.

    summarise: turns the whole table into lines for a terminal; None prints the table itself there too.
    """

    def __init__(
        self, schema: Schema, out: Path | None, form: str | None, summarise: Callable[[pl.DataFrame], str] | None = None
    ) -> None:
        from vhs.formats.tables import format_of

        out = None if out == Path("-") else out
        self.schema, self.out = schema, out
        self.form = format_of(out, form)
        self._summarise = summarise if out is None and is_terminal() and form is None else None
        if out is None and is_terminal() and self.form == "parquet":
            raise UsageError("Parquet is not for a terminal. Name a file with -o, or pipe it.")
        self._parts: list[pl.DataFrame] = []
        self._sent = 0

    def add(self, part: pl.DataFrame) -> None:
        """More rows; into a pipe they go at once."""
        from vhs.formats.tables import render

        if self.out is None and self._summarise is None and self.form != "parquet":
            write(render(part, self.form, header=self._sent == 0))
            self._sent += 1
        else:
            self._parts.append(part)

    def finish(self, provenance: dict[str, Any] | None = None) -> None:
        """No more rows: write the file, or what a terminal or a Parquet pipe is owed."""
        import polars as pl

        from vhs.formats.atomic import write_whole
        from vhs.formats.tables import render

        if not self._parts or not is_first():
            return
        table = pl.concat(self._parts)
        if self._summarise is not None:
            write(self._summarise(table).encode())
        elif self.out is None:
            write(render(table, self.form, provenance=provenance))
        else:
            write_whole(self.out, render(table, self.form, provenance=provenance))


def companion(schema: Schema, out: Path | None, named: str | None, suffix: str) -> TableOutput | None:
    """Where a command's second table goes: the file named, or `OUT.suffix.parquet` beside an ordinary -o.

    None where it goes nowhere, or, named `-`, down the pipe instead of the main table.
    """
    from vhs.formats.atomic import is_ordinary

    if named == "-":
        return None
    if named is not None:
        return TableOutput(schema, Path(named), None)
    if out is None or not is_ordinary(out):
        return None
    return TableOutput(schema, out.with_suffix(f".{suffix}.parquet"), None)
