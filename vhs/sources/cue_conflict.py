"""Cue-conflict images: the shape of one class, the texture of another.

Layout of rgeirhos/texture-vs-shape, stimuli/style-transfer-preprocessed-512: SHAPE/SHAPE3-TEXTURE7.png
(Geirhos et al. 2019, arXiv:1811.12231).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from vhs.errors import InputError
from vhs.formats.split import Split
from vhs.sources import folders

STEM = re.compile(r"([a-z]+)\d+-([a-z]+)\d+")


def is_folder(folder: Path) -> bool:
    """Whether class folders hold images named after their own class and another."""
    first = next((path for path in sorted(folder.glob("*/*")) if path.is_file()), None)
    match = STEM.fullmatch(first.stem) if first else None
    return bool(first and match and match[1] == first.parent.name)


def splits(folder: Path) -> list[Split]:
    """One split; the label is the shape, attributes are `texture` and `cue` (`conflict` or `agree`)."""
    split = folders.split_of(folder, folder.resolve().name, "val")
    textures = []
    for sample, label in zip(split.ids, split.labels, strict=True):
        match = STEM.search(sample)
        if not match or match[1] != split.classes[label] or match[2] not in split.classes:
            raise InputError(f"{folder}: {sample}: expected SHAPE3-TEXTURE7, both named after class folders.")
        textures.append(match[2])
    cues = [
        "agree" if split.classes[label] == texture else "conflict"
        for label, texture in zip(split.labels, textures, strict=True)
    ]
    return [replace(split, attributes={"texture": textures, "cue": cues})]
