"""Small real inputs, made once a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

CLASSES = ("ant", "bee", "cat", "dog", "eel")
SIDE = (42, 28)


def toy_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [count, 42, 28] with a class-dependent bar on noise, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(CLASSES)
    images = rng.integers(0, 120, (count, *SIDE), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label * 8 : label * 8 + 8] += 100
    return images, labels


@pytest.fixture(scope="session")
def toy_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a train set of 120 and a val set of 85 grey images, 42 x 28 px, 5 classes."""
    from vhs.formats.sharding import write_set
    from vhs.formats.split import from_arrays

    folder = tmp_path_factory.mktemp("toy") / "shards"
    for split, count, seed in (("train", 120, 1), ("val", 85, 2)):
        images, labels = toy_images(count, seed)
        data = from_arrays(images, labels, name="toy", split=split, classes=CLASSES, prefix=split)
        write_set(folder / split, data, per_tar=50)
    return folder


@pytest.fixture(scope="session")
def toy_checkpoint(toy_shards: Path) -> Path:
    """A briefly trained ViT, depth 3, 2 heads, beside the toy shards."""
    from vhs.fitting.training import Training
    from vhs.formats.shards import ShardSet
    from vhs.runs import runtime
    from vhs.training.recipe import Recipe

    path = toy_shards.parent / "toy.safetensors"
    recipe = Recipe(depth=3, dim=16, heads=2, patch=14, epochs=4, batch=24, lr=1e-2)
    Training(
        out=path, train=ShardSet.open(toy_shards / "train"), val=ShardSet.open(toy_shards / "val"), recipe=recipe,
        device=runtime.prepare("cpu", 1, "float32"),
    ).run(resuming=False)  # fmt: skip
    return path


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """A train and a val set of grey images of 32 px."""
    from vhs.formats.sharding import write_set
    from vhs.formats.split import from_arrays

    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        images, labels = rng.integers(0, 256, (80, 32, 32), dtype=np.uint8), np.arange(80) % 3
        write_set(
            tmp_path / "sq" / split, from_arrays(images, labels, name="sq", split=split, classes="abc", prefix=split)
        )
    return tmp_path / "sq"


@pytest.fixture(scope="module")
def no_tables() -> Iterator[None]:
    """No table of other tests comes in, and none of fake tensors gets out."""
    from tests.fake_cuda import forget

    forget()
    yield
    forget()


@pytest.fixture(scope="session")
def vhs_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A program `vhs` for shell scripts that starts in a moment; it keeps no limits and takes no signals."""
    from tests import server
    from tests.shells import environment

    folder = tmp_path_factory.mktemp("bin")
    (folder / "vhs").write_text(server.client(folder / "socket"))
    (folder / "vhs").chmod(0o755)
    process = server.begin(folder / "socket", environment())
    yield folder / "vhs"
    process.kill()
    process.wait()


@pytest.fixture
def vhs(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command in this process, in an empty folder: vhs("info", "x") -> (exit code, stdout, stderr)."""
    from vhs.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("VHS_SHARDS", raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        capfdbinary.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run
