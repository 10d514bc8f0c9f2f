"""Maps files: what heads look at in single images, for figures and for other programs. See docs/formats.md.

One safetensors file whose metadata key `vhs-maps` is a description as JSON; tensors are called by kind, condition,
sample and layer, so that NumPy reads one in a line. No torch.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from vhs.errors import InputError
from vhs.formats import regular
from vhs.formats.descriptions import checksum

KEY = "vhs-maps"
FORMAT = 1
MOST = 1 << 34
"""Bytes of a file."""
MAX_HEADER = 100 << 20
LISTED = 1 << 16
"""Conditions, samples, layers: more than anyone has."""


@dataclass(frozen=True)
class MapLayer:
    """layer, module and its number of heads; numbers: what these are called, if not 0, 1, …; special: names of the
    tokens before the patches; grid: rows and columns of these, None where they have no place; stored: whether its maps
    are in the file; kind: what it attends to."""

    layer: int
    module: str
    heads: int
    kind: str
    special: tuple[str, ...] = ()
    grid: tuple[int, int] | None = None
    stored: bool = False
    numbers: tuple[int, ...] = ()

    @property
    def places(self) -> list[tuple[int, int]]:
        """Layer and number of each head."""
        return [(self.layer, number) for number in self.numbers or range(self.heads)]


@dataclass(frozen=True, kw_only=True)
class MapInfo:
    """What a maps file says of itself.

    conditions: names, clean first; samples: ids; labels: the class of each, None where it is not known; answers: by
    condition and sample, None without classes; targets: the class that relevance is of, the same way. whole: whether
    maps have every query; otherwise they are one row: of the class token (looker `class`) or the patches' mean
    (`patches`).
    top: head -> `most` and `least` -> [sample, what the head writes for its true class], of all images measured.
    """

    model: str
    model_id: str
    data: str
    data_hash: str | None
    seed: int
    conditions: tuple[str, ...]
    samples: tuple[str, ...]
    labels: tuple[str | None, ...]
    answers: tuple[tuple[str | None, ...], ...]
    targets: tuple[tuple[str | None, ...], ...]
    layers: tuple[MapLayer, ...]
    looker: str
    whole: bool = False
    activity: int = 0
    top: Mapping[str, Mapping[str, list[list[float]]]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True)
class MapFile:
    """A description and its tensors."""

    info: MapInfo
    tensors: Mapping[str, np.ndarray]
    where: str

    def find(self, kind: str, *place: int) -> np.ndarray | None:
        """`kind/C/S…`; None where the file has none."""
        return self.tensors.get("/".join([kind, *map(str, place)]))

    def get(self, kind: str, *place: int) -> np.ndarray:
        """The same. Raises InputError where the file has none."""
        found = self.find(kind, *place)
        if found is None:
            raise InputError(f"{self.where}: holds no {name_of(kind, *place)}.")
        return found


def name_of(kind: str, *place: int) -> str:
    """What a tensor is called."""
    return "/".join([kind, *map(str, place)])


def to_bytes(info: MapInfo, tensors: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a maps file."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    layers = [
        {name: value for name, value in asdict(layer).items() if value or name != "numbers"} for layer in info.layers
    ]
    described = asdict(info) | {"layers": layers, "content": content_hash(arrays)}
    sealed = described | {"checksum": checksum(described)}
    return save(arrays, metadata={KEY: json.dumps(sealed, sort_keys=True)})


def content_hash(tensors: Mapping[str, np.ndarray]) -> str:
    """16 hex digits that stand for names, shapes and values of all tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tensors[name].shape}{tensors[name].dtype}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()[:16]


def is_map_file(path: Path) -> bool:
    """Whether a file's header says that it holds maps; False for anything that is not there or cannot be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            return length < MAX_HEADER and is_maps(struct.pack("<Q", length) + file.read(length))
    except (OSError, ValueError, struct.error):
        return False


def is_maps(data: bytes) -> bool:
    """Whether bytes begin as a maps file does."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = data[8 : 8 + min(length, MAX_HEADER)]
        return header[:1] == b"{" and KEY in json.loads(header).get("__metadata__", {})
    except (ValueError, struct.error, AttributeError, RecursionError):
        return False


def read(path: Path) -> MapFile:
    """Raises InputError for anything that is not a sound maps file."""
    return from_bytes(regular.read(path, MOST), str(path))


def from_bytes(data: bytes, where: str) -> MapFile:
    """Raises InputError saying what is wrong."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not is_maps(data):
        raise InputError(f"{where}: is no maps file. `vhs specialize MODEL --maps FILE` writes one.")
    try:
        (length,) = struct.unpack("<Q", data[:8])
        raw = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][KEY])
        tensors = load(data)
        intact = raw.pop("checksum") == checksum(raw)
        content = raw.pop("content")
        if raw["format"] != FORMAT:
            raise InputError(f"{where}: maps format {raw['format']!r:.20}, this vhs reads {FORMAT}.")
        if not intact:
            raise ValueError("its description has another checksum")
        info = _info(raw)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{where}: is a damaged maps file: {error}. Make or copy it again.") from error
    if content != content_hash(tensors):
        raise InputError(f"{where}: its maps are not those that were written. Make or copy it again.")
    return MapFile(info, tensors, where)


def _info(raw: dict[str, Any]) -> MapInfo:
    values = {item.name: raw[item.name] for item in fields(MapInfo)}
    for name in ("conditions", "samples", "labels"):
        values[name] = tuple(_text(value) for value in raw[name][:LISTED])
    for name in ("answers", "targets"):
        values[name] = tuple(tuple(_text(value) for value in row[:LISTED]) for row in raw[name][:LISTED])
    values["layers"] = tuple(_layer(layer) for layer in raw["layers"][:LISTED])
    info = MapInfo(**values)
    table = len(info.conditions), len(info.samples)
    if len(info.labels) != table[1] or any(
        (len(t), *{len(r) for r in t}) != table for t in (info.answers, info.targets)
    ):
        raise ValueError("its lists of conditions and samples do not agree")
    return info


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not text")
    return value


def _layer(raw: dict[str, Any]) -> MapLayer:
    grid = raw["grid"]
    numbers = tuple(raw.get("numbers", ()))
    tuples = {"special": tuple(raw["special"]), "grid": None if grid is None else tuple(grid), "numbers": numbers}
    layer = MapLayer(**raw | tuples)
    whole = (layer.layer, layer.heads, *(grid or ()), *numbers)
    if not all(type(number) is int and 0 <= number < LISTED for number in whole):
        raise ValueError(f"layer {layer.layer!r:.20} is not described by whole numbers")
    if numbers and len(set(numbers)) != layer.heads:
        raise ValueError(f"layer {layer.layer} has {layer.heads} heads, but others are named")
    return layer
