"""Reading and writing the tables of `schemas`: CSV, Parquet and JSON lines.

A null is empty; floats round-trip; readers check what they read and name file, row and column.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import polars as pl

from vhs.errors import InputError, UsageError, choices
from vhs.formats.atomic import is_ordinary
from vhs.formats.schemas import FLAG, INTEGER, REAL, STRING, Schema, recognise
from vhs.formats.stdin import read_stdin

DTYPES = {STRING: pl.String, INTEGER: pl.Int64, REAL: pl.Float64, FLAG: pl.Boolean}
FORMATS = ("csv", "parquet", "jsonl")


def frame(schema: Schema, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame of exactly the schema's columns; a column a row lacks is null."""
    complete = [{name: row.get(name) for name in schema.names} for row in rows]
    return pl.DataFrame(complete, schema=_dtypes(schema), orient="row")


def read(path: str) -> tuple[Schema, pl.DataFrame]:
    """A table from a file, or from stdin for `-`; its kind is recognised by its columns.

    Raises InputError naming file, row and column.
    """
    where = "stdin" if path == "-" else path
    data = _bytes(path)
    if not data:
        raise InputError(f"{where}: is empty, a table was expected. Did the command before it fail?")
    if data.startswith(b"PAR1"):
        table = _parse(where, lambda: pl.read_parquet(io.BytesIO(data)))
    elif b"\0" in data[:4096]:
        raise InputError(f"{where}: is no table but a binary file. CSV, Parquet or JSON lines were expected.")
    elif not data.endswith(b"\n"):
        raise InputError(f"{where}: ends in the middle of a row; the table was cut off. Write it again.")
    elif data.startswith(b"{"):
        table = _parse(where, lambda: pl.read_ndjson(io.BytesIO(data), infer_schema_length=None))
    else:
        table = _parse(where, lambda: pl.read_csv(io.BytesIO(data), infer_schema=False))
    schema = recognise(table.columns, where)
    return schema, _checked(table, schema, where)


def render(table: pl.DataFrame, form: str, *, header: bool = True, provenance: dict[str, Any] | None = None) -> bytes:
    """The bytes of a table in one of FORMATS; `header` is for CSV, `provenance` for Parquet."""
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
        return json.loads(pl.read_parquet_metadata(path).get("vhs", "{}"))
    except (pl.exceptions.PolarsError, OSError, ValueError):
        return {}


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
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Name an existing table.") from error


def _parse(where: str, parser: Any) -> pl.DataFrame:
    try:
        return parser()
    except (pl.exceptions.PolarsError, UnicodeDecodeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{where}: is no CSV, Parquet or JSON-lines table: {reason}.") from error


def _checked(table: pl.DataFrame, schema: Schema, where: str) -> pl.DataFrame:
    """Cast every column, naming the first row whose value does not fit or is missing."""
    if not len(table):
        raise InputError(f"{where}: the {schema.name} table has no rows.")
    columns = []
    for column in schema.columns:
        if column.name not in table.columns:  # of an older version of vhs
            columns.append(pl.Series(column.name, [None] * len(table), DTYPES[column.kind]))
            continue
        raw = table[column.name]
        if raw.dtype == pl.String and (raw == column.name).any():
            row = int((raw == column.name).arg_max() or 0)
            raise InputError(f"{where}: row {row + 1} is a second header; tables were joined. Name them one by one.")
        cast = _cast(raw, column.kind)
        bad = cast.is_null() & (raw.is_not_null() if column.nullable else pl.repeat(True, len(raw), eager=True))
        if bad.any():
            row = int(bad.arg_max() or 0)
            value = "empty" if raw[row] is None else repr(raw[row])
            raise InputError(
                f"{where}: row {row + 1}: column `{column.name}` is {value}, expected a value of type {column.kind}. "
                f"Was the table cut off or edited?"
            )
        columns.append(cast)
    return pl.DataFrame(columns)


def _cast(raw: pl.Series, kind: str) -> pl.Series:
    if kind == FLAG and raw.dtype == pl.String:
        return raw.replace_strict({"true": True, "false": False}, default=None, return_dtype=pl.Boolean)
    cast = raw.cast(DTYPES[kind], strict=False)
    return cast.set(~cast.is_finite(), None) if kind == REAL else cast
