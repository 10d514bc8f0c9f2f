"""Pictures for a contact sheet: an image, from a file or a shard set, under every published corruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vhs.errors import InputError
from vhs.formats.images import decode
from vhs.formats.shards import MANIFEST, ShardSet
from vhs.runs import cache, frost
from vhs.seeds import sample_keys
from vhs.shifts.corruption import MIN_SIDE, corrupt
from vhs.shifts.names import CORRUPTION_NAMES, SEVERITIES


def pictures(path: str, seed: int = 0) -> tuple[dict[str, list[np.ndarray]], str]:
    """(corruption -> the image clean and at severities 1 to 5, a title). A shard set gives its first sample.

    A photograph is brought to ImageNet's geometry (shorter side 256, centre 224).
    """
    image_CHW, name = _image(Path(path))
    height, width = image_CHW.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise InputError(f"{path}: {height}x{width} px; corruptions need {MIN_SIDE} px or more.")
    keys = torch.from_numpy(sample_keys([name]).view(np.int64))
    batch = torch.from_numpy(np.array(image_CHW))[None]
    columns = {}
    for corruption in CORRUPTION_NAMES:
        shifted = [corrupt(batch, keys, corruption, s, seed, textures=frost.textures()) for s in SEVERITIES]
        columns[corruption] = [image[0].permute(1, 2, 0).numpy() for image in (batch, *shifted)]
    origin = frost.textures().origin
    return columns, f"{name}, {height}x{width} px, seed {seed}; frost textures: {origin}"


def _image(path: Path) -> tuple[np.ndarray, str]:
    if (path / MANIFEST).exists():
        data = ShardSet.open(path)
        sample = next(data.samples())
        return cache.fitted(data.decoded(sample), data.manifest, sample), sample.id
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}.") from error
    return cache.resize_and_crop(decode(encoded, 3, str(path))), path.stem
