"""Ways to damage tables: a cell, a row or a column otherwise."""

from __future__ import annotations

import csv
import io

from numpy.random import Generator

from tests.faults.damage.blind import ESCAPES, NASTY, pick


def as_csv(data: bytes, rng: Generator) -> bytes:
    """A cell, a row or a column otherwise."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    row, column = int(rng.integers(len(rows))), int(rng.integers(len(rows[0])))
    how = rng.random()
    if how < 0.6:
        rows[row][column] = pick(NASTY, rng)
    elif how < 0.7:
        del rows[row][column]
    elif how < 0.75:
        rows = [[cell for at, cell in enumerate(line) if at != column] for line in rows]
    elif how < 0.8:
        rows[0][column] = rows[0][column - 1]
    elif how < 0.9:
        rows.insert(row, list(pick(rows, rng)))
    else:
        rows = rows[:row] or rows[:1]
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n", quoting=csv.QUOTE_MINIMAL, escapechar="\\")
    writer.writerows(rows)
    return made.getvalue().encode("utf-8", "surrogatepass")


def row_cut(data: bytes, rng: Generator) -> bytes:
    """Whole rows, but not all of them."""
    lines = data.splitlines(keepends=True)
    return b"".join(lines[: int(rng.integers(2, len(lines)))])


def as_parquet(data: bytes, rng: Generator) -> bytes:
    """A column of another type, with odd values, doubled rows, none, or gone."""
    import polars as pl

    table = pl.read_parquet(io.BytesIO(data))
    name = pick(table.columns, rng)
    odd = pick((None, "x", ESCAPES, -1, 2**62, float("nan"), [1], {"a": 1}, b"\xff", True, 0), rng)
    how = int(rng.integers(6))
    if how < 3:
        kept = pl.Series(name, [odd] * table.height, strict=False)
        table = table.with_columns(kept)
    elif how == 3:
        table = table.drop(name)
    elif how == 4:
        table = table.head(int(rng.integers(table.height)))
    else:
        table = pl.concat([table, table.sample(3, with_replacement=True, seed=int(rng.integers(99)))])
    made = io.BytesIO()
    table.write_parquet(made, compression=pick(("zstd", "gzip", "uncompressed"), rng))
    return made.getvalue()
