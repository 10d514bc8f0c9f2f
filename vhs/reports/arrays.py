"""Numbers and words of a page as one block of text: typed arrays, deflated, in base64.

A browser reads the same block with DecompressionStream: four bytes that say how long the description is, the
description as JSON, and the arrays, each at a multiple of eight. In the description an array is
`{"$": [type, place, length]}`.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

ALIGNED = 8
WHOLE = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32)
"""Types of whole numbers that a browser has, the smallest first; larger ones go as float64, exact to 2^53."""


def packed(described: Mapping[str, Any]) -> str:
    """The block of a tree of dicts, lists, plain values and arrays. Equal trees give equal blocks."""
    arrays: list[bytes] = []
    place = 0

    def outlined(value: Any) -> Any:
        nonlocal place
        if isinstance(value, np.ndarray):
            small = smallest(value)
            data = np.ascontiguousarray(small).tobytes()
            reference = {"$": [small.dtype.str[1:], place, small.size]}
            arrays.append(data + bytes(-len(data) % ALIGNED))
            place += len(arrays[-1])
            return reference
        if isinstance(value, Mapping):
            return {str(name): outlined(item) for name, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [outlined(item) for item in value]
        return value

    text = json.dumps(outlined(described), separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % ALIGNED)
    raw = len(text).to_bytes(4, "little") + text + b"".join(arrays)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(squeezer.compress(raw) + squeezer.flush()).decode()


def smallest(values: np.ndarray) -> np.ndarray:
    """The same numbers, flat, in the smallest type that a browser has."""
    flat = np.ravel(values)
    if flat.dtype == bool:
        return flat.astype(np.uint8)
    if flat.dtype.kind == "f":
        return flat.astype(np.float64)
    low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    for kind in WHOLE:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return flat.astype(kind)
    return flat.astype(np.float64)


def columns(table: pl.DataFrame) -> list[dict[str, Any]]:
    """A table column by column: `all` of one value, `values` of numbers (NaN is null), `words` with their `codes`."""
    return [{"name": name} | _column(table[name]) for name in table.columns]


def _column(column: pl.Series) -> dict[str, Any]:
    distinct = column.unique(maintain_order=True)
    if len(distinct) == 1 and len(column) > 1:
        return {"all": distinct[0]}
    if column.dtype == pl.Boolean or column.dtype == pl.String:
        words = [word if word is None else str(word).lower() if column.dtype == pl.Boolean else word
                 for word in distinct.to_list()]  # fmt: skip
        places = {word: index for index, word in enumerate(distinct.to_list())}
        return {"words": words, "codes": np.array([places[word] for word in column.to_list()])}
    if column.dtype == pl.Int64 and not column.null_count():
        return {"values": column.to_numpy()}
    return {"values": column.cast(pl.Float64).to_numpy(), "whole": column.dtype == pl.Int64}
