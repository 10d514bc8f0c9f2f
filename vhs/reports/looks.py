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
MOST_BYTES = 200_000
"""Of pictures and attention of one file; where there are more, the heads that matter most are taken."""
IMAGES = 6
"""Of a head for which the file ranks images."""


def looks(file: MapFile, order: list[str]) -> dict[str, Any] | None:
    """A file's maps for `arrays.packed`; None where it holds none that has a place in the image.

    order: heads, those that matter most first; the others follow.
    """
    every = [place for layer in of.stored(file) if layer.grid for place in layer.places]
    if not every:
        return None
    heads, pictures = _chosen(file, every, order)
    samples = sorted(pictures)
    blocks = [_shares(file, head, _samples(file, head)) for head in heads]
    conditions = range(len(file.info.conditions))
    names = [head_name(*head) for head in heads]
    return {
        "name": f"{short(file.info.model)} on {file.info.data}", "model_id": file.info.model_id, "heads": names,
        "left_out": len(every) - len(heads), "looker": of.looker(file, Wanted()),
        "conditions": [words.named(name) for name in file.info.conditions],
        "samples": [{"name": file.info.samples[s], "label": file.info.labels[s],
                     "answers": [file.info.answers[c][s] for c in conditions]} for s in samples],
        "of_heads": [
            {"samples": [samples.index(s) for s in _samples(file, head)], "grid": list(block.shape[2:]),
             "scores": _scores(file, head), "values": block}
            for head, block in zip(heads, blocks, strict=True)
        ],
        "pictures": {
            "type": "image/png" if _is_small(file) else "image/jpeg",
            "bytes": np.frombuffer(b"".join(p for s in samples for p in pictures[s]), np.uint8),
            "ends": [int(x) for x in np.cumsum([len(p) for s in samples for p in pictures[s]])],
        },
    }  # fmt: skip


def _chosen(file: MapFile, every: list[Place], order: list[str]) -> tuple[list[Place], dict[int, list[bytes]]]:
    """Heads in the file's order, as many as there is room for, and the pictures of their samples by condition."""
    known = {name: index for index, name in enumerate(order)}
    ranked = sorted(every, key=lambda place: known.get(head_name(*place), len(order)))
    pictures: dict[int, list[bytes]] = {}
    kept: set[Place] = set()
    size = 0
    for place in ranked:
        grid = of.layer_of(file, place[0]).grid or (0, 0)
        size += len(file.info.conditions) * len(_samples(file, place)) * grid[0] * grid[1] // 2  # deflated
        for sample in _samples(file, place):
            if sample not in pictures:
                conditions = range(len(file.info.conditions))
                pictures[sample] = [_picture(file.get("images", condition, sample)) for condition in conditions]
                size += sum(map(len, pictures[sample]))
        if size > MOST_BYTES and kept:
            break
        kept.add(place)
    used = {sample for place in kept for sample in _samples(file, place)}
    return [place for place in every if place in kept], {sample: pictures[sample] for sample in used}


def _samples(file: MapFile, head: Place) -> list[int]:
    """The images that drive a head most, where the file ranks them; else all of the file."""
    ranked = file.info.top.get(head_name(*head))
    return [int(sample) for sample, _ in ranked["most"][:IMAGES]] if ranked else list(range(len(file.info.samples)))


def _scores(file: MapFile, head: Place) -> list[float] | None:
    ranked = file.info.top.get(head_name(*head))
    return [float(score) for _, score in ranked["most"][:IMAGES]] if ranked else None


def _shares(file: MapFile, head: Place, samples: list[int]) -> np.ndarray:
    """uint8 [C, S, rows, columns]: each map as shares of its own most."""
    conditions = range(len(file.info.conditions))
    maps = np.stack([np.stack(list(of.maps(file, condition, head, Wanted())))[samples] for condition in conditions])
    most = maps.max((2, 3), keepdims=True)
    return np.rint(maps / np.maximum(most, 1e-12) * 255).astype(np.uint8)


def _is_small(file: MapFile) -> bool:
    return max(file.get("images", 0, 0).shape[:2]) <= SIDE // 2


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
