"""Maps of what heads look at, for a page: pictures as their own bytes, attention as bytes of a share.

Letters: C conditions, S samples, U heads.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from vhs.figures import map_cells as of
from vhs.figures import words
from vhs.figures.map_cells import Place, Wanted
from vhs.figures.style import short
from vhs.formats.map_file import MapFile
from vhs.grid import head_name

SIDE = 192
"""Pixels of a picture at most."""
MOST_CELLS = 1 << 21
"""Bytes of attention of one file; of more, the heads that matter most are taken."""


def looks(file: MapFile, order: list[str]) -> dict[str, Any] | None:
    """A file's maps for `arrays.packed`; None where it holds none that has a place in the image.

    order: heads, those that matter most first; the others follow.
    """
    every = [place for layer in of.stored(file) if layer.grid for place in layer.places]
    heads = _chosen(file, every, order)
    if not heads:
        return None
    conditions, samples = range(len(file.info.conditions)), len(file.info.samples)
    blocks = [_shares(file, head, conditions) for head in heads]
    pictures = [_picture(image) for condition in conditions for image in of.images(file, condition)]
    return {
        "name": f"{short(file.info.model)} on {file.info.data}", "model_id": file.info.model_id,
        "heads": [head_name(*head) for head in heads], "left_out": len(every) - len(heads),
        "grids": [list(block.shape[2:]) for block in blocks],
        "starts": [int(x) for x in np.cumsum([0, *(block.size for block in blocks)])[:-1]],
        "values": np.concatenate([block.ravel() for block in blocks]),
        "conditions": [words.named(name) for name in file.info.conditions], "samples": list(file.info.samples),
        "labels": list(file.info.labels), "answers": [list(row) for row in file.info.answers],
        "top": {name: ranked["most"] for name, ranked in file.info.top.items()},
        "looker": of.looker(file, Wanted()), "count": samples,
        "pictures": {
            "type": "image/png" if _is_small(file) else "image/jpeg",
            "bytes": np.frombuffer(b"".join(pictures), np.uint8),
            "ends": [int(x) for x in np.cumsum([len(picture) for picture in pictures])],
        },
    }  # fmt: skip


def _chosen(file: MapFile, every: list[Place], order: list[str]) -> list[Place]:
    """In the file's order, as many as there is room for."""
    cells = len(file.info.conditions) * len(file.info.samples)
    ranked = sorted(
        every, key=lambda place: order.index(head_name(*place)) if head_name(*place) in order else len(order)
    )
    kept, size = set(), 0
    for place in ranked:
        grid = of.layer_of(file, place[0]).grid or (0, 0)
        size += cells * grid[0] * grid[1]
        if size <= MOST_CELLS:
            kept.add(place)
    return [place for place in every if place in kept]


def _shares(file: MapFile, head: Place, conditions: range) -> np.ndarray:
    """uint8 [C, S, rows, columns]: each map as shares of its own most."""
    maps = np.stack([np.stack(list(of.maps(file, condition, head, Wanted()))) for condition in conditions])
    most = maps.max((2, 3), keepdims=True)
    return np.rint(maps / np.maximum(most, 1e-12) * 255).astype(np.uint8)


def _is_small(file: MapFile) -> bool:
    return max(of.images(file, 0)[0].shape[:2]) <= SIDE // 2


def _picture(image_HWC: np.ndarray) -> bytes:
    """PNG of small images, which stay exact; JPEG of photographs, at most SIDE pixels."""
    squeezed = image_HWC[..., 0] if image_HWC.shape[-1] == 1 else image_HWC
    picture, buffer = Image.fromarray(squeezed), io.BytesIO()
    if max(picture.size) <= SIDE // 2:
        picture.save(buffer, "PNG", optimize=True)
    else:
        picture.thumbnail((SIDE, SIDE))
        picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
