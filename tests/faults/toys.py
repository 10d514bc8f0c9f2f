"""What the commands work on: small shard sets, two models, tables; made once, in children."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import CLASSES, toy_images
from tests.faults import warm

SPLITS = (("train", 40, 1), ("val", 30, 2))
SMALL = ("--depth", "2", "--dim", "16", "--heads", "2", "--patch", "14", "--epochs", "2", "--batch", "20", "-q")
TABLES = {
    "heads.csv": ("ablate", "a.safetensors", "--shift", "contrast:3,5"),
    "shift.csv": ("evalshift", "a.safetensors", "--shift", "contrast:3,5"),
    "looks.csv": ("specialize", "a.safetensors"),
    "agreement.csv": ("compare", "heads.csv"),
}
"""Files in the folder of the toys, and what makes them; their companions lie beside them."""


def make(folder: Path) -> Path:
    """`shards`, `source` (class folders of PNGs), a.safetensors, b.safetensors, maps.safetensors and TABLES in
    `folder`."""
    folder.mkdir()
    warm.apart(lambda: _images(folder), folder)
    for name, seed in (("a", "0"), ("b", "1")):
        _run(("train", "shards", *SMALL, "--seed", seed, "-o", f"{name}.safetensors"), folder)
    for name, words in TABLES.items():
        _run((*words, *(() if words[0] == "compare" else ("-q",)), "-o", name), folder)
    _run(("specialize", "a.safetensors", "--shift", "contrast:3", "-q", "--maps", "maps.safetensors"), folder)
    return folder


def _run(words: tuple[str, ...], folder: Path) -> None:
    ended = warm.run(words, folder)
    if ended.code:
        raise RuntimeError(f"{words}: {ended}")


def _images(folder: Path) -> None:
    from vhs.formats.images import encode_png
    from vhs.formats.sharding import write_set
    from vhs.formats.split import from_arrays

    for split, count, seed in SPLITS:
        images, labels = toy_images(count, seed)
        data = from_arrays(images, labels, name="toy", split=split, classes=CLASSES, prefix=split)
        write_set(folder / "shards" / split, data, per_tar=16)
        for number, (image, label) in enumerate(zip(images[:12], labels[:12], strict=True)):
            path = folder / "source" / split / CLASSES[label] / f"{split}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(image[..., None]))
