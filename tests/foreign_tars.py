"""Tars as others write them: by webdataset's own writer, in the layout of the public imagenet-1k-wds."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import CLASSES, toy_images

WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")


def jpeg(pixels_HW: np.ndarray, size: tuple[int, int] = (32, 32)) -> bytes:
    """A coloured JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels_HW).convert("RGB").resize(size).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def imagenet_1k_wds(folder: Path, *, train: int = 60, val: int = 40, each: int = 20) -> Path:
    """`imagenet1k-train-0000.tar`, `imagenet1k-validation-00.tar`: jpg, cls and json a sample, keys with a folder."""
    for split, digits, count, seed in (("train", 4, train, 1), ("validation", 2, val, 2)):
        images, labels = toy_images(count, seed)
        samples = [
            {
                "__key__": f"{WNIDS[label]}/{WNIDS[label]}_{number}", "jpg": jpeg(image, (40 + number % 3, 36)),
                "cls": str(label).encode(),
                "json": json.dumps({
                    "label": int(label), "class_name": CLASSES[label], "filename": f"{WNIDS[label]}_{number}.JPEG",
                }).encode(),
            }
            for number, (image, label) in enumerate(zip(images, labels, strict=True))
        ]  # fmt: skip
        write(folder / f"imagenet1k-{split}-%0{digits}d.tar", samples, each)
    return folder


def write(pattern: Path, samples: list[Mapping[str, object]], each: int, **options: object) -> None:
    """By webdataset's ShardWriter, with its times and PAX headers as they come."""
    from webdataset import ShardWriter

    pattern.parent.mkdir(parents=True, exist_ok=True)
    with ShardWriter(str(pattern), maxcount=each, verbose=0, **options) as writer:
        for sample in samples:
            writer.write(sample)
