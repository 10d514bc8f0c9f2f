"""Reading and writing the tables of `schemas`: CSV, Parquet and JSON lines.

A null is empty; floats round-trip; readers check what they read and name file, row and column. What is written has one
column more, the last, TABLE_ROWS: empty (in JSON lines 0) but in the last row, where it is the number of rows. By it a
reader sees that a table was cut off between two rows. It is in no schema, and readers take it off.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from vhs.errors import InputError, MismatchError, UsageError, choices
from vhs.formats import part_file
from vhs.formats.atomic import is_ordinary, sha256_file
from vhs.formats.schemas import FLAG, INTEGER, REAL, STRING, Schema, recognise
from vhs.formats.stdin import read_stdin
from vhs.progress import Note, unheard

DTYPES = {STRING: pl.String, INTEGER: pl.Int64, REAL: pl.Float64, FLAG: pl.Boolean}
FORMATS = ("csv", "parquet", "jsonl")
TABLE_ROWS = "table_rows"
HEADED = ("heads", "units", "unit")
"""Columns that name heads."""
PART = "part of a table"
"""What figures and sentences of an incomplete table say."""
MAX_VALUES, MAX_SQUEEZED = 1 << 22, 100
"""A Parquet file of more values (rows times columns) than both MAX_VALUES and MAX_SQUEEZED a byte is not read: our
tables hold 1 to 10 values a byte, and a few kilobytes could unfold to gigabytes of equal rows."""


class Ends(Enum):
    """Which tables whose end is missing are read: those of files, with a warning; those of pipes too; none."""

    USUAL = "usual"
    PARTIAL = "partial"
    WHOLE = "whole"


class Table(NamedTuple):
    """A table as it was read. part: whether its end is missing."""

    schema: Schema
    rows: pl.DataFrame
    part: bool


def frame(schema: Schema, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame of exactly the schema's columns; a column a row lacks is null."""
    complete = [{name: row.get(name) for name in schema.names} for row in rows]
    return pl.DataFrame(complete, schema=_dtypes(schema), orient="row")


def read(path: str, ends: Ends = Ends.USUAL, note: Note = unheard) -> Table:
    """A table from a file, or from stdin for `-`; its kind is recognised by its columns.

    Raises InputError naming file, row and column, or that the table has no end where `ends` wants one.
    """
    where = "stdin" if path == "-" else path
    table = _parse_bytes(_bytes(path), where)
    schema = recognise([name for name in table.columns if name != TABLE_ROWS], where)
    rows = _parse(where, lambda: _check(table.drop(TABLE_ROWS, strict=False), schema, where))
    part = not _has_end(table, where)
    if part:
        _refuse_part(where, ends, piped=path == "-" or not Path(path).is_file())
        note(f"{where}: is {PART}: its last row does not say how many there are. Was it cut off, or filtered?")
    return Table(schema, rows, part)


def of_frame(rows: pl.DataFrame, where: str = "the frame") -> Table:
    """A table that is a frame already, from Python. Raises InputError as `read` does."""
    schema = recognise([name for name in rows.columns if name != TABLE_ROWS], where)
    return Table(schema, _parse(where, lambda: _check(rows.drop(TABLE_ROWS, strict=False), schema, where)), False)


def render(table: pl.DataFrame, form: str, *, provenance: dict[str, Any] | None = None) -> bytes:
    """The bytes of a whole table in one of FORMATS; `provenance` is for Parquet."""
    return render_part(table, form, total=len(table), provenance=provenance)


def render_part(
    table: pl.DataFrame, form: str, *, header: bool = True, total: int | None = None,
    provenance: dict[str, Any] | None = None,
) -> bytes:  # fmt: skip
    """The bytes of some rows of a table. header: for CSV; total: where these are the last rows, how many all are."""
    empty = 0 if form == "jsonl" else None  # readers of JSON lines take a column of nulls for one without a type
    marks = [empty] * max(len(table) - 1, 0) + [total if total is not None else empty] * bool(len(table))
    table = table.with_columns(pl.Series(TABLE_ROWS, marks, pl.Int64))
    buffer = io.BytesIO()
    if form == "csv":
        table.write_csv(buffer, include_header=header)
    elif form == "jsonl":
        table.write_ndjson(buffer)
    else:
        metadata = {"vhs": json.dumps(provenance or {}, sort_keys=True)}
        table.write_parquet(buffer, metadata=metadata)
    return buffer.getvalue()


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance a Parquet file of ours carries; empty for any other."""
    try:
        with quiet_panics():
            return dict(json.loads(pl.read_parquet_metadata(path).get("vhs", "{}")))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, TypeError, RecursionError):
        return {}


def check_beside(path: Path, main: Path) -> None:
    """Raises MismatchError where the Parquet file `path` was written beside another table than `main`."""
    recorded = read_provenance(path).get("beside")
    if isinstance(recorded, dict) and recorded.get("sha256") != sha256_file(main):
        raise MismatchError(
            f"{path}: was written beside another {main.name}, which was changed or replaced since. "
            f"Run `vhs ablate` again, or name {path.name} alone."
        )


def format_of(path: Path | None, asked: str | None) -> str:
    """The format asked for, or the one the suffix names, or CSV. Raises UsageError where they disagree."""
    named = path.suffix[1:].lower() if path is not None else ""
    if asked is not None and asked not in FORMATS:
        raise UsageError(f"--format {asked}: expected {choices(FORMATS)}.")
    if asked and named in FORMATS and named != asked:
        raise UsageError(f"{path}: the suffix says {named} and --format says {asked}. Drop one of them.")
    if named and named not in FORMATS and asked is None and (path is None or is_ordinary(path)):
        raise UsageError(f"{path}: a table's name ends in .{', .'.join(FORMATS)}. Rename it, or add --format.")
    return asked or (named if named in FORMATS else "csv")


def check_grid(table: pl.DataFrame, where: str) -> None:
    """Refuse an ablation table whose conditions do not all hold the same heads, each once."""
    keys = ["model_id", "shift", "corruption", "severity", "group", "fill", "method"]
    heads = table.filter(pl.col("unit") == "head")
    per_model = heads.group_by("model_id").agg(grid=pl.struct("layer", "head").unique().len())
    sizes = heads.group_by(keys).agg(found=pl.len(), distinct=pl.struct("layer", "head").unique().len())
    sizes = sizes.join(per_model, on="model_id")
    odd = sizes.filter((pl.col("found") != pl.col("grid")) | (pl.col("distinct") != pl.col("grid"))).sort(keys)
    if len(odd):
        row = odd.row(0, named=True)
        name = condition_name(row["shift"], row["corruption"], row["severity"])
        raise InputError(
            f"{where}: condition {name} has {row['found']} heads of {row['grid']}; the table is cut off "
            f"or joined from unlike runs. Write it again."
        )


def condition_name(shift: str, corruption: str | None, severity: int) -> str:
    """`clean`, or `shift/corruption:severity`."""
    return f"{shift}/{corruption}:{severity}" if corruption else shift


def _dtypes(schema: Schema) -> dict[str, Any]:
    return {column.name: DTYPES[column.kind] for column in schema.columns}


def _bytes(path: str) -> bytes:
    if path == "-":
        return read_stdin("a table")
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: {reason}. Name an existing table.") from error


def _parse_bytes(data: bytes, where: str) -> pl.DataFrame:
    """Raises InputError for what is no table, or unfolds beyond measure."""
    if not data:
        raise InputError(f"{where}: is empty, a table was expected. Did the command before it fail?")
    if data.startswith(b"PAR1"):
        return _parse(where, lambda: _parquet(data))
    part_file.refuse(data, where)
    if b"\0" in data[:4096]:
        raise InputError(f"{where}: is no table but a binary file. CSV, Parquet or JSON lines were expected.")
    if not data.endswith(b"\n"):
        raise InputError(f"{where}: ends in the middle of a row; the table was cut off. Write it again.")
    if data.startswith(b"{"):
        return _parse(where, lambda: pl.read_ndjson(io.BytesIO(data), infer_schema_length=None))
    return _parse(where, lambda: pl.read_csv(io.BytesIO(data), infer_schema=False))


def _parquet(data: bytes) -> pl.DataFrame:
    """Raises ValueError where the footer promises more values than are read."""
    lazy = pl.scan_parquet(io.BytesIO(data))
    rows = int(lazy.select(pl.len()).collect().item())
    columns = len(lazy.collect_schema())
    if rows * columns > max(MAX_VALUES, MAX_SQUEEZED * len(data)):
        raise ValueError(f"{rows} rows of {columns} columns in {len(data)} bytes")
    return lazy.collect()


def _parse(where: str, parser: Any) -> pl.DataFrame:
    try:
        with quiet_panics():
            return parser()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeDecodeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        if "fields than" in reason:
            reason = "rows have unlike numbers of fields. Were tables joined? Name them one by one"
        raise InputError(f"{where}: is no CSV, Parquet or JSON-lines table: {reason}.") from error


@contextmanager
def quiet_panics() -> Iterator[None]:
    """What polars' Rust side prints of a panic, straight to the file descriptor, is not ours to show."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _has_end(table: pl.DataFrame, where: str) -> bool:
    """Whether the table's marks add up to its rows; a table without the column has no end to miss."""
    if TABLE_ROWS not in table.columns:
        return True
    marks = _cast(table[TABLE_ROWS], INTEGER)
    if (marks.is_null() & table[TABLE_ROWS].is_not_null()).any() or (marks < 0).any():
        raise InputError(f"{where}: column `{TABLE_ROWS}` holds something else than numbers of rows. Was it edited?")
    return marks.sum() == len(table)


def _refuse_part(where: str, ends: Ends, *, piped: bool) -> None:
    if ends is Ends.WHOLE or (piped and ends is Ends.USUAL):
        instead = "Write it again." if ends is Ends.WHOLE else "--partial reads it."
        raise InputError(f"{where}: the table was cut off or filtered: its end is missing. {instead}")


def _rename_heads(heads: pl.Series) -> pl.Series:
    """`3.1+5.0`, as vhs 0.1.0 wrote heads, as `L3H1+L5H0`."""
    return heads.str.replace_all(r"(\d+)\.(\d+)", "L${1}H${2}")


def _second_header(table: pl.DataFrame, schema: Schema) -> int | None:
    """The first row that repeats the names of the columns: of all that hold text, the two first at least."""
    names = [name for name in schema.names if name in table.columns and table[name].dtype == pl.String]
    if not names:
        return None
    repeated = table.select(pl.all_horizontal(pl.col(name) == name for name in names[:3])).to_series()
    return int(repeated.arg_max() or 0) if repeated.any() else None


def _check(table: pl.DataFrame, schema: Schema, where: str) -> pl.DataFrame:
    """Cast every column, naming the first row whose value does not fit or is missing."""
    if not len(table):
        raise InputError(f"{where}: the {schema.name} table has no rows.")
    columns = []
    again = _second_header(table, schema)
    if again is not None:
        raise InputError(f"{where}: row {again + 1} is a second header; tables were joined. Name them one by one.")
    for column in schema.columns:
        if column.name not in table.columns:  # of an older version of vhs
            columns.append(pl.Series(column.name, [None] * len(table), DTYPES[column.kind]))
            continue
        raw = table[column.name]
        cast = _cast(raw, column.kind)
        bad = cast.is_null() & (raw.is_not_null() if column.nullable else pl.repeat(True, len(raw), eager=True))
        if bad.any():
            row = int(bad.arg_max() or 0)
            value = "empty" if raw[row] is None else repr(raw[row])
            raise InputError(
                f"{where}: row {row + 1}: column `{column.name}` is {value}, expected a value of type {column.kind}. "
                f"Was the table cut off or edited?"
            )
        columns.append(_rename_heads(cast) if column.name in HEADED else cast)
    return pl.DataFrame(columns)


def _cast(raw: pl.Series, kind: str) -> pl.Series:
    if kind == FLAG and raw.dtype == pl.String:
        return raw.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    if raw.dtype.is_nested() or raw.dtype in (pl.Binary, pl.Object):
        return pl.Series([None] * len(raw), dtype=DTYPES[kind])
    cast = raw.cast(DTYPES[kind], strict=False)
    return cast.set(~cast.is_finite(), None) if kind == REAL else cast
