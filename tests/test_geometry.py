"""Photographs at ImageNet's geometry and at a model's own, against timm's own transform through Pillow."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import timm
import torch
from PIL import Image

from tests.networks import network
from tests.photographs import SHAPES, photograph
from vhs.formats.pixels import IMAGENET, Geometry, resize_and_crop


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "geometry",
    [IMAGENET, Geometry(248, (224, 224), "bicubic"), Geometry(224, (224, 224), "bicubic"), Geometry(97, (84, 84))],
)
def test_pixels_are_those_of_pillow(shape: tuple[int, int], geometry: Geometry) -> None:
    transform = timm.data.create_transform(
        (3, *geometry.crop), interpolation=geometry.mode, crop_pct=geometry.crop[0] / geometry.resize, mean=(0,) * 3,
        std=(1,) * 3,
    )  # fmt: skip
    pixels = photograph(*shape)
    want = (transform(Image.fromarray(pixels)) * 255).round().numpy().astype(int)
    got = resize_and_crop(pixels, geometry).astype(int)
    assert got.shape == want.shape
    apart = np.abs(got - want)
    hardly = min(shape) == 257  # a side that hardly changes: weights near 0 and 1, which both round to few bits
    assert apart.max() <= (4 if hardly else 2) and apart.mean() < (0.3 if hardly else 0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_not_resized_changes_nothing(shape: tuple[int, int]) -> None:
    pixels = photograph(*shape)
    sides = [256 * side // min(shape) for side in shape]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    whole = torch.nn.functional.interpolate(image, size=sides, mode="bilinear", antialias=True)[0].numpy()
    top, left = (round((side - 224) / 2) for side in sides)
    assert np.array_equal(resize_and_crop(pixels), whole[:, top : top + 224, left : left + 224])


def test_clean_own_is_the_models_published_transform(vhs, tmp_path: Path) -> None:
    """On photographs of several sizes, against timm's transform and forward; `clean` stays at the shifts' geometry."""
    net = network("test_vit", {})
    torch.save(net.state_dict(), tmp_path / "w.pth")
    config = timm.data.resolve_data_config({}, model=net)
    transform = timm.data.create_transform(**config)
    classes = "abcdefg"
    images = [(index, photograph(*SHAPES[index % 5])[:, :: -1 if index % 2 else 1]) for index in range(14)]
    for index, pixels in images:
        path = tmp_path / "set" / classes[index % 7] / f"p{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    assert vhs("shard", tmp_path / "set", "shards")[0] == 0
    code, out, err = vhs("evalshift", f"timm:test_vit@{tmp_path / 'w.pth'}", "--data", "shards", "--shift", "clean_own")
    assert code == 0, err
    table = pl.read_csv(out.encode())
    assert table["shift"].to_list() == ["clean", "clean_own"]
    side = config["input_size"][1]
    assert table["preprocess"].to_list()[0].startswith("resize 256, crop 224")
    assert table["preprocess"].to_list()[1].startswith(f"resize {int(side / config['crop_pct'])}")
    with torch.inference_mode():
        logits = net(torch.stack([transform(Image.fromarray(pixels)) for _, pixels in images])).double()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([index % 7 for index, _ in images])).item()
    assert abs(table["loss"][1] - loss) < 0.02 * abs(loss)


def test_clean_own_is_for_photographs(vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("evalshift", toy_checkpoint, "--shift", "clean_own")
    assert code == 2 and "it is for photographs" in err
