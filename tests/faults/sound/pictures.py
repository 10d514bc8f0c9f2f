"""Images: PNG, JPEG and WebP."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np

from tests.faults.damage import blind
from tests.faults.sound.format import Format


def formats() -> list[Format]:
    from PIL import Image

    rng = np.random.default_rng(0)
    grey = Image.fromarray(np.kron(rng.integers(0, 255, (4, 4), dtype=np.uint8), np.ones((8, 8), np.uint8)))
    found = []
    for kind, mode in (("png", "L"), ("png", "RGB"), ("png", "P"), ("jpg", "RGB"), ("jpg", "L"), ("webp", "RGB")):
        made = io.BytesIO()
        grey.convert(mode).save(made, {"jpg": "JPEG"}.get(kind, kind.upper()))
        file = f"source/cat/1.{kind}"
        pack = ("shard", "source", "out", "-q")
        readings = ((97, partial(_decoded, file)), (3, pack))
        found.append(Format(f"{kind} {mode}", {file: made.getvalue()}, file, blind.BLIND, readings, share=4))
    return found


def _decoded(name: str) -> object:
    from vhs.formats.images import decode

    return decode(Path(name).read_bytes(), 3, name)
