"""Tables by the names that a template has for them, and the rows it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from vhs.errors import InputError, UsageError, choices
from vhs.figures import behind, findings, paper, selection
from vhs.formats.schemas import FLAG, INTEGER, REAL, STRING
from vhs.formats.tables import DTYPES, PART, Table
from vhs.reports import opening
from vhs.reports.opening import Read

TYPES: dict[str, tuple[type, ...]] = {STRING: (str,), INTEGER: (int,), REAL: (int, float), FLAG: (bool,)}
"""By what values a column of each kind is asked for."""
LISTED = 8


class Row(dict[str, Any]):
    """A row of a table, by column. Asking for a column that is not there raises InputError."""

    def __init__(self, table: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._table = table

    def __missing__(self, column: object) -> Any:
        raise InputError(f"`{self._table}` has no column `{column}`. It has {', '.join(self)}.")


def named(things: Sequence[str | tuple[str, Any]]) -> dict[str, Any]:
    """Files, or what stands for a table, by name: NAME=FILE and (name, thing) say it, else it is the file's stem.

    Raises UsageError where two have one name, or one is no table.
    """
    found: dict[str, Any] = {}
    for thing in things:
        name, source = _split(thing) if isinstance(thing, str) else thing
        if isinstance(source, str) and source.endswith(".safetensors"):
            raise UsageError(f"{source}: is no table. The numbers of a template come from tables; leave it out.")
        if name in found:
            raise UsageError(f"{found[name]} and {source}: are both named {name}. Name one otherwise, OTHER={source}.")
        found[name] = source
    return found


def _split(thing: str) -> tuple[str, str]:
    """A file and its name; one that is there is a file, whatever it is called."""
    name, equals, path = thing.partition("=")
    if equals and name and path and "/" not in name and not Path(thing).exists():
        return name, path
    return ("stdin" if thing == "-" else Path(thing).stem), thing


class NamedTables:
    """The tables of one page. read: what reads one; note: who is told what should be known of it."""

    def __init__(self, sources: Mapping[str, Any], read: Read, note: Callable[[str], None]) -> None:
        self._sources, self._read, self._note = sources, read, note
        self._tables = {name: read(source) for name, source in sources.items()}

    def rows(self, name: str, where: Mapping[str, Any]) -> list[Row]:
        """The rows of a table whose columns have these values."""
        return [Row(name, row) for row in self._chosen(name, where).iter_rows(named=True)]

    def row(self, name: str, where: Mapping[str, Any]) -> Row:
        """The one row of a table whose columns have these values. Raises InputError for none, and for several."""
        found = self._chosen(name, where)
        if len(found) == 1:
            return Row(name, found.row(0, named=True))
        if len(found):
            differ = [column for column in found.columns if found[column].n_unique() > 1]
            told = f"they differ in {', '.join(differ)}. Name one of these, too" if differ else "they are all equal"
            raise InputError(f"`{name}` has {len(found)} rows{_told(where)}; one was expected: {told}.")
        raise InputError(f"`{name}` has no row{_told(where)}; one was expected. {self._missed(name, where)}")

    def count(self, name: str, where: Mapping[str, Any]) -> int:
        """How many rows of a table have these values."""
        return len(self._chosen(name, where))

    def say(self, name: str, where: Mapping[str, Any]) -> str:
        """The sentence of a table, or of those of its rows. Raises InputError where there is none."""
        rows, table = self._chosen(name, where), self._table(name)
        said = findings.sentence(table.schema.name, rows) if len(rows) else None
        if said is None:
            lacks = "it has no rows" if not len(rows) else "none is of its kind, or its clean rows are missing"
            raise InputError(f"`{name}`, a table of kind {table.schema.name}, has no sentence{_told(where)}: {lacks}.")
        return f"({PART}) {said}" if table.part else said

    def behind(self, name: str, kind: str | None, *, metric: str | None, form: str) -> str:
        """What `vhs plot NAME --format FORM` gives, without its last line break."""
        if form not in behind.FORMATS:
            raise InputError(f"form is {form!r}; expected {choices(behind.FORMATS)}.")
        table, path = self._table(name), self._path(name)
        what, rows, _ = selection.select_rows([table], [path or name], None, None)
        with paper.drawn_for(paper.parse()):
            return behind.render(what, rows, kind, metric, form, self._folds(name, what)).rstrip("\n")

    def command(self, name: str) -> str | None:
        """The command that made a table, where its file, or one written beside it, tells."""
        self._table(name)
        path = self._path(name)
        made = opening.made_by(path, opening.hashed(path))
        return str(made["command"]) if made.get("command") else None

    def _folds(self, name: str, kind: str) -> pl.DataFrame | None:
        """The folds beside a file; of a frame, those that are named like it."""
        if path := self._path(name):
            return selection.folds_beside(kind, [path], self._read, self._note)
        folds = self._tables.get(f"{name}.folds")
        return folds.rows if folds is not None and kind == "ablate" else None

    def _path(self, name: str) -> str:
        source = self._sources[name]
        return source if isinstance(source, str) else ""

    def _table(self, name: str) -> Table:
        if name not in self._tables:
            raise InputError(
                f"there is no table `{name}`. There is {', '.join(self._tables)}; others are named beside."
            )
        return self._tables[name]

    def _chosen(self, name: str, where: Mapping[str, Any]) -> pl.DataFrame:
        table = self._table(name)
        masks = [self._having(name, column, wanted) for column, wanted in where.items()]
        return table.rows.filter(masks) if masks else table.rows

    def _having(self, name: str, column: str, wanted: Any) -> pl.Expr:
        """Which rows have a value, or any of several. Raises InputError for a column or value that cannot be."""
        schema = self._table(name).schema
        kinds = {known.name: known.kind for known in schema.columns}
        if column not in kinds:
            raise InputError(f"`{name}` has no column `{column}`. It has {', '.join(kinds)}.")
        kind = kinds[column]
        values = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
        for value in values:
            fits = isinstance(value, TYPES[kind]) and isinstance(value, bool) == (kind == FLAG)
            if value is not None and not fits:
                # as text first, which raises for what a template has not defined
                raise InputError(f"column `{column}` of `{name}` is of type {kind}, which {str(value)!r} is not.")
        dtype = DTYPES[kind]
        return pl.any_horizontal(pl.lit(False), *(pl.col(column).eq_missing(pl.lit(v, dtype)) for v in values))

    def _missed(self, name: str, where: Mapping[str, Any]) -> str:
        """Which of the conditions no row of a table fulfils."""
        rows = self._table(name).rows
        for column, wanted in where.items():
            if not len(rows.filter(self._having(name, column, wanted))):
                held = rows[column].unique(maintain_order=True).to_list()
                more = ", …" if len(held) > LISTED else ""
                return f"Its `{column}` is {', '.join(map(repr, held[:LISTED]))}{more}."
        return "Each of these has rows, but none has all of them."


def _told(where: Mapping[str, Any]) -> str:
    return f" where {', '.join(f'{column} = {value!r}' for column, value in where.items())}" if where else ""
