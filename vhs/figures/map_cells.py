"""What figures of a maps file are made of: which heads, which images, what is said beside them.

Letters: Q queries, K keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vhs.errors import InputError, UsageError, choices
from vhs.figures import style, words
from vhs.formats.map_file import MapFile, MapLayer
from vhs.grid import head_name, named_sets

MOST_ROWS = 24
"""Of a sheet for which no layer is named."""
MOST_TWICE = 8
"""Heads of a sheet that are shown clean and shifted."""
Place = tuple[int, int]
KINDS = {"attention": "maps", "value": "weighted"}
"""Weighting -> what a maps file calls such maps."""


@dataclass(frozen=True)
class Wanted:
    """heads: (layer, head), none for those a figure chooses; layer: only of this one; query: row and column of the
    patch that looks, None for the class token or all; weighting: `attention` or `value`."""

    heads: Sequence[Place] = ()
    layer: int | None = None
    query: Place | None = None
    weighting: str = "attention"


def parse(heads: Sequence[str], layer: int | None, query: str | None, weighting: str) -> Wanted:
    """From words: `L3H1` or `3.1`, `ROW,COLUMN`. Raises UsageError for what is none."""
    places = tuple(place for text in heads for part in named_sets([text]).sets for place in part)
    match = re.fullmatch(r"(\d{1,4}),(\d{1,4})", query or "", re.ASCII)
    if query is not None and match is None:
        raise UsageError(f"--query {query}: expected ROW,COLUMN of a patch, from 0, such as 3,5.")
    if weighting not in KINDS:
        raise UsageError(f"--weighting {weighting}: expected {choices(KINDS)}.")
    return Wanted(places, layer, (int(match[1]), int(match[2])) if match else None, weighting)


def maps(file: MapFile, condition: int, head: Place, wanted: Wanted) -> Iterator[np.ndarray]:
    """float [rows, columns]: what a head looks at in each image. Raises UsageError for what the file does not hold."""
    layer = layer_of(file, head[0])
    if head not in layer.places:
        named = ", ".join(head_name(*place) for place in layer.places)
        raise UsageError(f"--head {head_name(*head)}: the file has {named} of layer {head[0]}.")
    position = layer.places.index(head)
    kind = KINDS[wanted.weighting]
    if wanted.query is not None and wanted.weighting == "value":
        raise UsageError("--query and --weighting value: value-weighted maps are of the class token or the mean only.")
    for sample in range(len(file.info.samples)):
        rows = file.get(kind, condition, sample, layer.layer)[position].astype(float)
        yield square(row_of(file, layer, rows, wanted), layer, where=file.where)


def row_of(file: MapFile, layer: MapLayer, rows_QK: np.ndarray, wanted: Wanted) -> np.ndarray:
    """What looks at the patches: the query asked for, the class token, or all queries' mean."""
    special, grid = len(layer.special), layer.grid or (0, 0)
    if wanted.query is not None:
        row, column = wanted.query
        if not file.info.whole:
            raise UsageError(
                "--query: the file holds one row a head. Make it with `vhs specialize … --maps FILE --full`."
            )
        if row >= grid[0] or column >= grid[1]:
            raise UsageError(f"--query {row},{column}: the grid has {grid[0]} rows and {grid[1]} columns, from 0.")
        return rows_QK[special + row * grid[1] + column][special:]
    return (rows_QK[0] if file.info.looker == "class" or len(rows_QK) == 1 else rows_QK[special:].mean(0))[special:]


def square(row: np.ndarray, layer: MapLayer, *, where: str) -> np.ndarray:
    if layer.grid is None or row.size != layer.grid[0] * layer.grid[1]:
        raise InputError(f"{where}: layer {layer.layer} has {row.size} patches, its grid is {layer.grid}.")
    return row.reshape(layer.grid)


def stored(file: MapFile) -> list[MapLayer]:
    return [layer for layer in file.info.layers if layer.stored]


def layer_of(file: MapFile, number: int) -> MapLayer:
    found = next((layer for layer in stored(file) if layer.layer == number), None)
    if found is None:
        has = ", ".join(str(layer.layer) for layer in stored(file))
        raise UsageError(f"layer {number}: the file has maps of layers {has}.")
    return found


def default_heads(file: MapFile, wanted: Wanted) -> list[Place]:
    """All where they fit; else those of one layer, the last unless another is named."""
    layers = [layer_of(file, wanted.layer)] if wanted.layer is not None else stored(file)
    if sum(layer.heads for layer in layers) > MOST_ROWS:
        layers = layers[-1:]
    return [place for layer in layers for place in layer.places]


def strongest(file: MapFile, wanted: Wanted) -> Place:
    """The head that writes most for the true class; without such numbers the first of the last layer."""
    layers = [layer for layer in stored(file) if wanted.layer in (None, layer.layer)]
    scores = [file.find("direct", 0, sample) for sample in range(len(file.info.samples))]
    if not layers:
        layer_of(file, wanted.layer or 0)
    if any(score is None for score in scores):
        return layers[-1].places[0]
    mean = np.nan_to_num(np.mean([score for score in scores if score is not None], axis=0))
    position = {place: index for index, place in enumerate(place for of in file.info.layers for place in of.places)}
    every = [place for layer in layers for place in layer.places]
    return max(every, key=lambda place: float(mean[position[place]]))


def images(file: MapFile, condition: int) -> list[np.ndarray]:
    return [file.get("images", condition, sample) for sample in range(len(file.info.samples))]


def columns(file: MapFile) -> list[str]:
    return [
        label if label is not None else name for name, label in zip(file.info.samples, file.info.labels, strict=True)
    ]


def condition(file: MapFile, condition: int) -> str:
    return words.named(file.info.conditions[condition])


def right(file: MapFile, condition: int) -> str:
    """How many of the images are answered rightly."""
    pairs = list(zip(file.info.answers[condition], file.info.labels, strict=True))
    known = [answer == label for answer, label in pairs if answer is not None and label is not None]
    return f"{sum(known)}/{len(known)} right" if known else ""


def targets(file: MapFile, condition: int) -> str:
    named = dict.fromkeys(str(target) for target in file.info.targets[condition])
    return (
        f"for {next(iter(named))}"[:24]
        if len(named) == 1
        else "for the class\nabove"
        if file.info.labels[0]
        else "for the\nanswer"
    )


def most(maps: Sequence[np.ndarray]) -> str:
    return f"≤ {max(float(part.max()) for part in maps):.2g}"


def title(file: MapFile, wanted: Wanted) -> str:
    weighted = ", value-weighted" if wanted.weighting == "value" else ""
    return f"{style.short(file.info.model)} on {file.info.data}{weighted}"


def looker(file: MapFile, wanted: Wanted) -> str:
    if wanted.query is not None:
        return f"Attention of the framed patch, row {wanted.query[0]}, column {wanted.query[1]}."
    return "Attention of the class token." if file.info.looker == "class" else "Mean attention of all patches."
