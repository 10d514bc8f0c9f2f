"""What an outcomes table says of each sample: hex digits of bits, a bit a unit."""

from __future__ import annotations

import numpy as np
import polars as pl


def unpacked(right: pl.Series) -> np.ndarray:
    """bool [N, 8 * bytes]: whether each of N samples is right, by unit in the order of the column `units`.

    Raises ValueError where the column holds other than hex digits, or rows of unlike lengths.
    """
    packed = np.frombuffer(bytes.fromhex("".join(right.to_list())), np.uint8).reshape(len(right), -1)
    return np.unpackbits(packed, axis=1, bitorder="little").astype(bool)
