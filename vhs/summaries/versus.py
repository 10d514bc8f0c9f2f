"""Two models on the same samples, from their outcomes tables. Does not import torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from vhs.errors import MismatchError
from vhs.formats import schemas
from vhs.formats.tables import frame
from vhs.measures.intervals import benjamini_hochberg, bonett_price, mcnemar
from vhs.summaries.outcome_bits import unpacked

CONDITION = ["data", "shift", "category", "corruption", "severity"]


def versus(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    """The versus table: by condition and unit that both have, over the samples that both have.

    Raises MismatchError where a table holds several models, or the two share no condition or sample.
    """
    for name, table in (("the first", a), ("the second", b)):
        if table["model_id"].n_unique() != 1:
            raise MismatchError(f"--against: {name} table holds {table['model_id'].n_unique()} models; expected one.")
    joined = a.join(b, on=[*CONDITION, "sample"], how="inner", suffix="_b", nulls_equal=True, maintain_order="left")
    if not len(joined):
        raise MismatchError("--against: the tables share no sample of one condition. Measure both on the same data.")
    rows = [row for _, part in joined.group_by(CONDITION, maintain_order=True) for row in _rows(part)]
    return frame(schemas.VERSUS, rows)


def _rows(part: pl.DataFrame) -> Iterator[dict[str, Any]]:
    units_a, units_b = (part[column][0].split() for column in ("units", "units_b"))
    shared = [unit for unit in units_a if unit in units_b]
    right_a = _bits(part["right"])[:, [units_a.index(unit) for unit in shared]]
    right_b = _bits(part["right_b"])[:, [units_b.index(unit) for unit in shared]]
    only_a, only_b = (right_a & ~right_b).sum(0), (right_b & ~right_a).sum(0)
    lo, hi = bonett_price(only_b, only_a, len(part))
    p = mcnemar(only_b, only_a)
    q = benjamini_hochberg(p)
    keys = part.select(CONDITION).row(0, named=True) | {"model_a": part["model"][0], "model_b": part["model_b"][0]}
    for index, unit in enumerate(shared):
        yield keys | {
            "unit": unit, "n": len(part), "n_correct_a": int(right_a[:, index].sum()),
            "n_correct_b": int(right_b[:, index].sum()), "n_only_a": int(only_a[index]),
            "n_only_b": int(only_b[index]), "diff": (int(only_b[index]) - int(only_a[index])) / len(part),
            "lo": float(lo[index]), "hi": float(hi[index]), "p": float(p[index]), "q": float(q[index]),
        }  # fmt: skip


def _bits(column: pl.Series) -> np.ndarray:
    """bool [N, 8 * bytes]: the outcomes of each sample."""
    try:
        return unpacked(column)
    except ValueError as error:
        raise MismatchError(f"--against: the outcomes cannot be read: {error}.") from error
