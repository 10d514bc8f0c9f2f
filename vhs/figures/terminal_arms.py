"""Arms of a study on a terminal: means over seeds, then the surest effects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
from rich.text import Text

from vhs.figures import arms, findings

MOST = 12


def lines(table: pl.DataFrame) -> list[Text]:
    """Of each reading of all layers under the conditions that the figure draws, as many rows as a screen takes."""
    whole = table.filter(pl.col("layer").is_null())
    shown = whole.filter(pl.col("condition").is_in(arms.conditions(whole), nulls_equal=True)) if len(whole) else table
    said = findings.sentence("arms", table)
    means, effects = (shown.filter(pl.col("question") == name) for name in ("mean", "effect"))
    told = [Text(said), Text()] if said else []
    told += [*map(Text, _rows(means.head(MOST), "mean over seeds (95 %)")), Text()]
    if len(effects):
        told += [*map(Text, _rows(effects.sort("p", nulls_last=True, maintain_order=True).head(MOST), "effect (95 %)"))]
    return [*told, Text(f"{len(table):,} rows. Whole table: -o arms.csv, or | less; figure: | vhs plot")]


def _rows(part: pl.DataFrame, title: str) -> Iterator[str]:
    rows = list(part.iter_rows(named=True))
    width = max([len(row["arm"]) for row in rows] + [3])
    yield f"{'arm':<{width}}  {title}"
    yield from (f"{row['arm']:<{width}}  {_value(row):<34} {_of(row)}" for row in rows)


def _value(row: dict[str, Any]) -> str:
    factor, digits = (100, 1) if row["what"] in arms.SHARES else (1, 3)
    sign = "+" if row["question"] == "effect" else ""
    value, lo, hi = (
        None if row[name] is None else f"{row[name] * factor:{sign}.{digits}f}" for name in ("value", "lo", "hi")
    )
    tested = "" if row["p"] is None else f"  p = {row['p']:.2g}"
    return f"{value}" + (f" ({lo} to {hi})" if lo is not None else "") + tested


def _of(row: dict[str, Any]) -> str:
    parts = (row["what"], row["of"], row["condition"], row["data"])
    return ", ".join(str(part) for part in parts if part is not None)
