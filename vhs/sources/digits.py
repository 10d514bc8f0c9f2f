"""The handwritten digits that come with scikit-learn (UCI's optical recognition test set), enlarged to 28 px.

In the place of MNIST where that is not at hand: 8 x 8 px of 17 grey levels, each pixel made 3 x 3, and 2 px of black
around.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.formats.split import Split, from_arrays

NAME = "digits"
LEVELS = 16
LICENCE = "CC BY 4.0 (Alpaydin and Kaynak, UCI Machine Learning Repository)"


def splits(_source: Path | None = None) -> list[Split]:
    """One split, `val`, of 1,797 digits; ids are their places. Raises InputError without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(f"{NAME}: come with scikit-learn, which is not here. `pip install scikit-learn`.") from error
    found = load_digits()
    grey = np.rint(found.images * 255 / LEVELS).astype(np.uint8)
    large = np.pad(grey.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    return [
        from_arrays(
            large, found.target, name=NAME, split="val", classes=[str(digit) for digit in range(10)], prefix="digit",
            source="scikit-learn, load_digits", licence=LICENCE,
        )
    ]  # fmt: skip
