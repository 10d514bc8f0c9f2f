"""Where the frost photographs come from: a folder of the user's, an installed package, or nowhere."""

from __future__ import annotations

import os
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np

from vhs.errors import InputError
from vhs.shifts.textures import PHOTOGRAPHS, Textures, procedural

VARIABLE = "VHS_FROST"
FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
"""The five of the six published files that the original draws from."""
DISTRIBUTIONS = ("imagecorruptions", "imagecorruptions-imaug")


@cache
def textures() -> Textures:
    """The photographs of $VHS_FROST or of an installed imagecorruptions (not imported), else procedural textures.

    Raises InputError when $VHS_FROST names a folder without them.
    """
    named = os.environ.get(VARIABLE)
    folder = Path(named) if named else _installed_folder()
    if folder is None:
        return procedural()
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder}: has no {missing[0]}. ${VARIABLE} names the folder of {', '.join(FILES)}.")
    return Textures(tuple(_read(folder / name) for name in FILES), PHOTOGRAPHS)


def _installed_folder() -> Path | None:
    for name in DISTRIBUTIONS:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name == FILES[0]:
                return Path(str(file.locate())).parent
    return None


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: cannot be decoded: {error}.") from error
