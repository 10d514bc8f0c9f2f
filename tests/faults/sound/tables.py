"""Tables of vhs: CSV, JSON lines, Parquet, folds."""

from __future__ import annotations

import csv
import io
import json
from functools import partial

from tests.faults import warm
from tests.faults.cases import Files
from tests.faults.damage import blind, documents, tables
from tests.faults.sound.format import NAMED, Format


def formats(toy: Files) -> list[Format]:
    found = []
    for name in ("heads", "shift", "looks", "agreement"):
        draw = ("plot", "t.csv", "-q", "-o", "x.png")
        readings = ((6, draw), (30, ("info", "--say", "t.csv")), (64, ("info", "t.csv")))
        found.append(
            Format(f"csv {name}", {"t.csv": toy[f"{name}.csv"]}, "t.csv", (*blind.TEXT, *[tables.as_csv] * 5), readings, share=4, places=NAMED)
        )  # fmt: skip
    cut = ((100, ("info", "-")),)
    found.append(
        Format("csv rows cut", {"t.csv": toy["heads.csv"]}, "t.csv", (tables.row_cut,), cut, seal="refused", stdin=True, share=0.5, places=("missing",))
    )  # fmt: skip
    lines, parquet = _converted(toy["heads.csv"])
    for suffix, data, own in (("jsonl", lines, documents.as_jsonl), ("parquet", parquet, tables.as_parquet)):
        file = f"t.{suffix}"
        readings = ((5, ("plot", file, "-q", "-o", "x.png")), (95, ("info", file)))
        found.append(Format(suffix, {file: data}, file, (*blind.BLIND, *[own] * 5), readings, share=5, places=NAMED))
    files = {"h.csv": toy["heads.csv"], "h.folds.parquet": toy["heads.folds.parquet"]}
    readings = ((20, ("compare", "h.csv")), (80, ("info", "h.folds.parquet")))
    found.append(
        Format(
            "folds", files, "h.folds.parquet", (*blind.BLIND, *[tables.as_parquet] * 5), readings, share=4, places=NAMED
        )
    )
    return found


def _converted(table: bytes) -> tuple[bytes, bytes]:
    """A CSV table as JSON lines and as Parquet. By hand and by a child: polars must not run in the parent."""
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    typed = [{key: _typed(value) for key, value in row.items()} for row in rows]
    return ("".join(json.dumps(row) + "\n" for row in typed)).encode(), warm.answer(partial(_parquet, table))


def _parquet(table: bytes) -> bytes:
    import polars as pl

    made = io.BytesIO()
    pl.read_csv(io.BytesIO(table), infer_schema_length=None).write_parquet(made)
    return made.getvalue()


def _typed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text or None
