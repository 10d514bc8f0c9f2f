"""Reading samples, one thread: small PNGs against webdataset, photographs against Pillow; and what hashing costs.

`python -m tests.bench.reading`. Hashing is timed with the command's own reading (all cores) and its least computation.
"""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import timm
from PIL import Image

from tests.bench.timing import alternate, machine, say
from vhs.formats import pixels
from vhs.formats.sharding import write_set
from vhs.formats.shards import ShardSet
from vhs.formats.split import Split
from vhs.models.model import Model, Preprocess
from vhs.runs import cache, runtime
from vhs.runs.conditions import parse
from vhs.runs.evaluation import evaluate
from vhs.runs.opening import open_run
from vhs.sources import fashion

PHOTOGRAPHS = 200
"""Crops of scikit-image's photographs, as JPEG of 500 x 375 px, ImageNet's usual size."""


def main() -> None:
    runtime.prepare("cpu", 1, "float32")
    say(machine())
    with tempfile.TemporaryDirectory() as folder:
        small_pngs(Path(folder) / "png")
        photographs(Path(folder) / "jpeg")
        hashing(Path(folder) / "png", "28x28 PNG")
        hashing(Path(folder) / "jpeg", "500x375 JPEG")


def hashing(folder: Path, name: str) -> None:
    """What comparing hashes costs: of reading alone, and of the least that a command computes on what it reads."""
    data = ShardSet.open(folder)
    trusting = replace(data, verify=False)
    model = network(data)
    for part, samples in (("whole", None), ("half", data.manifest.samples // 2)):
        for work, what in ((decode, "reading"), (partial(score, model), "evalshift")):
            mine, other, _ = alternate(partial(work, data, samples), partial(work, trusting, samples), rounds=9)
            say(f"{name:<13} {part:<6} {what:<10} with hashes {1000 * mine:8.1f} ms  without {1000 * other:8.1f} ms  "
                f"{mine / other - 1:+.1%}")  # fmt: skip


def network(data: ShardSet) -> Model:
    """The demo's ViT for small images, DeiT-Ti for photographs; untrained."""
    side, channels = data.manifest.height or 224, data.manifest.channels
    sizes = {"depth": 6, "embed_dim": 64, "num_heads": 4, "patch_size": 7} if side == 28 else {}
    net = timm.create_model(
        "deit_tiny_patch16_224", img_size=side, in_chans=channels, num_classes=len(data.manifest.classes), **sizes
    ).eval()
    preprocess = Preprocess(height=side, width=side, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)
    return Model(net=net, preprocess=preprocess, classes=data.manifest.classes, name="bench", weights_id="")


def score(model: Model, data: ShardSet, samples: int | None) -> None:
    list(evaluate(open_run([model], data, parse([]), max_samples=samples)))


def decode(data: ShardSet, samples: int | None) -> None:
    cache.decode(data, cache.choose(data, samples))


def small_pngs(folder: Path) -> None:
    import webdataset

    write_set(folder, fashion.splits()[1])
    data = ShardSet.open(folder)
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]

    def theirs() -> None:
        for _ in webdataset.WebDataset(urls, shardshuffle=False).decode("l8").to_tuple("png", "cls"):
            pass

    mine, other, ratio = alternate(lambda: read(data), theirs, rounds=9, clock=time.process_time)
    count = data.manifest.samples
    say(f"28x28 PNG           ours {count / mine:8,.0f}/s  webdataset {count / other:8,.0f}/s  ratio {ratio:.2f}")


def photographs(folder: Path) -> None:
    encoded = [crop(seed) for seed in range(PHOTOGRAPHS)]
    ids = [f"p{number}" for number in range(PHOTOGRAPHS)]
    write_set(folder, Split(
        name="photographs", split="val", classes=("x",), ids=ids, labels=[0] * PHOTOGRAPHS, channels=3,
        encoded=lambda position: encoded[position], fingerprint="",
    ))  # fmt: skip
    data = ShardSet.open(folder)

    def theirs() -> None:
        for image in encoded:
            with_pillow(image)

    mine, other, ratio = alternate(lambda: read(data), theirs, rounds=9, clock=time.process_time)
    say(
        f"500x375 JPEG -> 224 ours {PHOTOGRAPHS / mine:8,.0f}/s  Pillow     {PHOTOGRAPHS / other:8,.0f}/s  ratio {ratio:.2f}"
    )
    apart = np.stack([
        pixels.decode(data, sample).transpose(1, 2, 0).astype(int) - with_pillow(bytes(sample.image))
        for sample in data.samples()
    ])  # fmt: skip
    say(f"grey levels apart   at most {abs(apart).max()}, mean {abs(apart).mean():.3f}")


def read(data: ShardSet) -> None:
    for sample in data.samples():
        pixels.decode(data, sample)


def with_pillow(encoded: bytes) -> np.ndarray:
    """uint8 [224, 224, 3]: shorter side to 256, bilinear, centre 224, as torchvision's Resize and CenterCrop do."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    size, (crop_height, crop_width) = pixels.IMAGENET[:2]
    scale = size / min(image.size)
    image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (round((side - crop_width) / 2) for side in image.size)
    return np.asarray(image.crop((left, top, left + crop_width, top + crop_height)))


def crop(seed: int) -> bytes:
    """A JPEG, 500 x 375 px or upright, 4:2:0 at quality 90, cut from a photograph."""
    from skimage import data

    source = Image.fromarray((data.astronaut(), data.chelsea(), data.coffee())[seed % 3])
    rng = np.random.default_rng(seed)
    scale = max(500 / source.width, 375 / source.height) * rng.uniform(1, 1.5)
    image = source.resize((round(source.width * scale) + 1, round(source.height * scale) + 1))
    left, top = rng.integers(0, image.width - 499), rng.integers(0, image.height - 374)
    buffer = io.BytesIO()
    photograph = image.crop((left, top, left + 500, top + 375))
    (photograph.rotate(90, expand=True) if seed % 2 else photograph).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
