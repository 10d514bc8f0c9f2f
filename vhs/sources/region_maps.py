"""Maps of regions that lie beside the images of a source: one PNG an image, its pixels numbers of regions."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from vhs.errors import InputError, UsageError
from vhs.formats import regular
from vhs.formats.atomic import sha256
from vhs.formats.images import encode_png
from vhs.formats.split import Split, sample_ids
from vhs.sources.folders import SPLITS

MOST = 1 << 28
"""Bytes of a map."""
MAX_REGIONS = 255
READABLE = ("P", "L", "1", "I", "I;16")
"""Kinds of PNG whose pixels are numbers; a palette's colours do not matter."""


def with_maps(split: Split, folder: Path, names: Sequence[str]) -> Split:
    """The split with a map for each of its images, found by the image's path or, where that is unique, by its name.

    names: of the regions 0, 1, …. Raises InputError naming an image without a map.
    """
    if not names or len(names) > MAX_REGIONS or len(set(names)) < len(names):
        raise UsageError("--region-names: expected different names of regions 0, 1, …, such as background,object.")
    found = _files(folder)
    lacking = next((name for name in split.ids if name not in found), None)
    if lacking is not None:
        raise InputError(
            f"{folder}: holds no map {lacking}.png for the image {lacking}. Add it, or leave the image out."
        )
    files = [found[name] for name in split.ids]
    stamps = [f"{path}:{(status := path.stat()).st_size}:{status.st_mtime_ns}" for path in files]
    content = "\n".join([split.fingerprint, *names, *stamps])

    def made(position: int) -> bytes:
        return _encoded(files[position], split.encoded(position), len(names))

    return replace(
        split, regions=tuple(names), members={**split.members, "regions.png": made},
        fingerprint=sha256(content.encode("utf-8", "surrogateescape")),
    )  # fmt: skip


def _files(folder: Path) -> dict[str, Path]:
    """Sample id -> map, by every rule that ids are made by: the whole path, without a split's folder, the bare name."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is no folder; the folder with maps of regions was expected.")
    paths = sorted(folder.rglob("*.png"))
    by_name: dict[str, Path] = {}
    twice = set()
    for path in paths:
        (name,) = sample_ids([Path(path.stem)])
        twice |= {name} & set(by_name)
        by_name[name] = path
    found = {name: path for name, path in by_name.items() if name not in twice}
    for path in paths:
        parts = path.relative_to(folder).with_suffix("").parts
        for own in (parts[1:] if parts[0] in SPLITS and len(parts) > 1 else parts, parts):
            found[sample_ids([Path("__".join(own))])[0]] = path
    return found


def _encoded(path: Path, image: bytes, regions: int) -> bytes:
    """The map as a grey PNG of numbers below `regions`, as large as its image."""
    try:
        with Image.open(io.BytesIO(regular.read(path, MOST))) as opened:
            if opened.mode not in READABLE:
                raise InputError(f"{path}: is a {opened.mode} image; a map of regions has one number a pixel.")
            numbers = np.asarray(opened).astype(np.int64)
        with Image.open(io.BytesIO(image)) as shown:
            size = shown.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be decoded: {error}.") from error
    if numbers.shape[::-1] != size:
        found, wanted = ("x".join(map(str, sides)) for sides in (numbers.shape, size[::-1]))
        raise InputError(f"{path}: is {found} px, its image {wanted}; expected as large.")
    if numbers.max() >= regions or numbers.min() < 0:
        raise InputError(
            f"{path}: holds region {numbers.max()}, --region-names names {regions}, from 0. Name them all."
        )
    return encode_png(numbers.astype(np.uint8)[..., None])
