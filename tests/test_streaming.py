"""Images read and augmented one by one while training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainings import training
from vhs.training.recipe import Recipe


@pytest.mark.parametrize("workers", [0, 2])
def test_images_augmented_one_by_one_are_the_same_with_any_workers(vhs, toy_shards: Path, workers: int) -> None:
    settings = [x for key in ("randaug=rand-m9-mstd0.5-inc1", "resized_crop=true", "flip=true", "repeats=2", "cutmix=1.0",
                              "erase=0.5", "mixup=0.8", "accumulate=2") for x in ("--set", key)]  # fmt: skip
    small = ("--depth", 1, "--dim", 8, "--heads", 2, "--patch", 14, "--epochs", 2, "--batch", 40)
    code, _, err = vhs("train", toy_shards, *small, *settings, "--workers", workers, "-o", "a.safetensors")
    assert code == 0, err
    assert vhs("train", toy_shards, *small, *settings, "--workers", 1, "-o", "b.safetensors")[0] == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_a_streamed_run_stopped_in_an_epoch_goes_on_to_the_same_bytes(tmp_path: Path, toy_shards: Path) -> None:
    recipe = Recipe(depth=1, dim=8, heads=2, patch=14, batch=24, epochs=3, resized_crop=True, repeats=3, mixup=0.5)
    assert training(tmp_path / "a", toy_shards, recipe=recipe).run(resuming=False)
    count = [0]

    def stop() -> bool:
        count[0] += 1
        return count[0] == 7

    assert not training(tmp_path / "b", toy_shards, recipe=recipe, stop=stop).run(resuming=False)
    assert training(tmp_path / "b", toy_shards, recipe=recipe).run(resuming=True)
    assert (tmp_path / "a/m.safetensors").read_bytes() == (tmp_path / "b/m.safetensors").read_bytes()


def test_randaugment_never_asks_pillow_for_no_bits() -> None:
    """At magnitude 10, which mstd0.5 reaches, timm posterizes to 0 bits."""
    from PIL import Image

    from vhs.fitting.streaming import Reader
    from vhs.seeds import seed_generators
    from vhs.training.recipe import preset

    made = type("Data", (), {"manifest": type("Told", (), {"mean": (0.5,), "std": (0.2,)})})()
    (augment,) = Reader(made, [], preset("deit").with_values({"resized_crop": False}, ""), (8, 8)).transforms
    image = Image.new("RGB", (8, 8), "grey")
    for index in range(3000):
        with seed_generators(index):
            augment(image)


def test_a_damaged_image_in_a_worker_is_one_line(vhs, squares: Path) -> None:
    import json

    from vhs.formats.atomic import sha256

    tar = next((squares / "train").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    place = data.index(b"IDAT", 20_000)
    data[place + 8 : place + 40] = bytes(32)
    tar.write_bytes(data)
    manifest = json.loads((squares / "train/shards.json").read_text())
    manifest["tars"][0]["sha256"] = sha256(bytes(data))
    (squares / "train/shards.json").write_text(json.dumps(manifest))
    for workers in (0, 2):
        code, _, err = vhs(
            "train", squares, "--patch", 8, "--set", "resized_crop=true", "--workers", workers, "-o", "x.safetensors"
        )
        assert code == 3 and err.count("\n") == 1 and "cannot be decoded" in err, err
