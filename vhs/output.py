"""Data on stdout or in the file named with -o; nothing else is written there."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs.console import printable
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


def name_product(path: Path) -> None:
    """Say on stdout where a product is; nobody need listen, since the product is there."""
    if sys.stdout is None:
        return
    line = printable(str(path)).encode() if is_terminal() else os.fsencode(path)
    with suppress(ClosedPipe):
        write(line + b"\n")


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
        self._sent = self._rows = 0

    def add(self, part: pl.DataFrame) -> None:
        """More rows; into a pipe they go at once, but for the last one, which will say how many there are."""
        from vhs.formats.tables import render_part

        self._parts.append(part)
        self._rows += len(part)
        if self.out is None and self._summarise is None and self.form != "parquet" and self._rows > self._sent + 1:
            table = self.table()
            write(render_part(table[:-1], self.form, header=self._sent == 0))
            self._sent = self._rows - 1
            self._parts = [table[-1:]]

    def table(self) -> pl.DataFrame:
        """The rows that are not sent yet."""
        import polars as pl

        return pl.concat(self._parts)

    def bytes_left(self, provenance: dict[str, Any] | None) -> bytes:
        """The bytes that are still to be written."""
        from vhs.formats.tables import render, render_part

        if self._summarise is not None:
            return self._summarise(self.table()).encode()
        if self._sent:
            return render_part(self.table(), self.form, header=False, total=self._rows)
        return render(self.table(), self.form, provenance=provenance)

    @property
    def empty(self) -> bool:
        return not self._rows


def finish(main: TableOutput, *beside: TableOutput | None, provenance: dict[str, Any] | None = None) -> None:
    """No more rows: the files appear together, `main` last; a pipe or a terminal gets what it is owed after them.

    A Parquet file beside an ordinary main file records that one's hash, by which readers know that they belong
    together.
    """
    from vhs.formats.atomic import is_ordinary, sha256, write_together

    if not is_first():
        return
    provenance = provenance or {}
    last = b"" if main.empty else main.bytes_left(provenance)
    if main.out is not None and is_ordinary(main.out):
        belonging = {"beside": {"name": main.out.name, "sha256": sha256(last)}}
    else:
        belonging = {}
    files = [
        (table.out, table.bytes_left(provenance | belonging))
        for table in beside
        if table and table.out and not table.empty
    ]
    if main.out is not None and last:
        files.append((main.out, last))
    write_together(files)
    if main.out is None and last:
        write(last)


def companion(schema: Schema, out: Path | None, named: str | None, suffix: str) -> TableOutput | None:
    """Where a command's second table goes: the file named, or `OUT.suffix.parquet` beside an ordinary -o.

    None where it goes nowhere, or, named `-`, down the pipe instead of the main table.
    """
    from vhs.formats.atomic import check_target, is_ordinary

    if named == "-":
        return None
    if named is not None:
        return TableOutput(schema, Path(named), None)
    if out is None or not is_ordinary(out):
        return None
    check_target(out)
    return TableOutput(schema, out.with_suffix(f".{suffix}.parquet"), None)


UNRECORDED = ("--resume", "-q", "--quiet", "-v", "--verbose", "--debug", "--no-verify")
"""Options that a command line in a table leaves out, so that a resumed run gives the bytes of a plain one."""


def command_line() -> str:
    """The command as typed, without credentials in URLs and without what decides no number."""
    import shlex

    return shlex.join(words())


def words() -> list[str]:
    """The same, word by word."""
    from vhs.formats.places import redacted

    kept = [argument for argument in sys.argv[1:] if argument not in UNRECORDED]
    return [redacted(word) for word in ("vhs", *kept)]


def without(typed: Sequence[str], options: Sequence[str], flags: Sequence[str] = ()) -> list[str]:
    """The words of a command without these options and their values, and without these flags; -oFILE and --out=FILE are
    known, too."""
    kept: list[str] = []
    skip = False
    for word in typed:
        if skip:
            skip = False
        elif word in options:
            skip = True
        elif word not in flags and not any(_holds(word, option) for option in options):
            kept.append(word)
    return kept


def _holds(word: str, option: str) -> bool:
    """Whether a word is an option with its value."""
    return word.startswith(f"{option}=") if option.startswith("--") else word.startswith(option) and word != option
