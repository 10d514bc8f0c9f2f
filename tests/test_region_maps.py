"""One's own maps of regions: found beside images, checked, resized with them, and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from vhs.formats import pixels
from vhs.formats.pixels import Geometry
from vhs.formats.shards import ShardSet

NAMES = ("--region-names", "ground,thing")


def picture(path: Path, array: np.ndarray, *, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette:
        image = image.convert("P")
        image.putpalette([200, 0, 0, 0, 0, 200] + [0] * 750)
    image.save(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Images of bright things on dark ground, CLASS/IMAGE, and their maps in a folder beside, one with a palette."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("val", 30)):
        for index in range(count):
            top, left = rng.integers(0, 28, 2)
            image = rng.integers(0, 60, (42, 42, 3), dtype=np.uint8)
            image[top : top + 14, left : left + 14] += 150
            regions = np.zeros((42, 42), np.uint8)
            regions[top : top + 14, left : left + 14] = 1
            where = Path(split) / ("ant", "bee")[index % 2] / f"{split}{index}"
            picture(tmp_path / "src" / where.with_suffix(".png"), image)
            picture(tmp_path / "maps" / where.with_suffix(".png"), regions, palette=index == 3)
    return tmp_path / "src"


def test_maps_come_into_the_shards_and_are_measured(vhs, source: Path) -> None:
    code, _, err = vhs("shard", source, "set", "--region-maps", source.parent / "maps", *NAMES)
    assert code == 0, err
    data = ShardSet.open(Path("set/val"))
    assert data.manifest.regions == ("ground", "thing")
    for sample in data.samples():
        regions, image = pixels.decode_map(data, sample, "regions.png"), data.decode(sample)
        assert (image.mean(-1)[regions == 1] > 120).mean() > 0.95 and set(np.unique(regions)) == {0, 1}
    assert (
        vhs(
            "train", "set", "-o", "m.safetensors", "--epochs", 1, "--patch", 7, "--dim", 16, "--heads", 2, "--depth", 2
        )[0]
        == 0
    )
    code, _, err = vhs("specialize", "m.safetensors", "--regions", "--shift", "contrast:2", "-o", "r.csv")
    assert code == 0, err
    table = pl.read_csv("r.csv").filter(pl.col("metric").str.starts_with("region"))
    assert set(table["of"]) == {"ground", "thing"} and set(table["weighting"]) == {"attention", "value"}
    assert set(table["metric"]) == {"region_enrichment", "region_reference", "region_excess", "region_selectivity"}
    assert len(table) == 2 * 2 * 4 * 2 * 4 and table["value"].is_between(-5, 30).all()
    assert vhs("plot", "r.csv", "--kind", "regions", "-o", "r.png")[0] == 0


def test_a_rerun_changes_nothing_and_other_maps_do(vhs, source: Path) -> None:
    command = ("shard", source, "set", "--region-maps", source.parent / "maps", *NAMES)
    assert vhs(*command)[0] == 0
    before = Path("set/val/shards.json").read_bytes()
    assert vhs(*command)[0] == 0 and Path("set/val/shards.json").read_bytes() == before
    picture(source.parent / "maps" / "val" / "ant" / "val0.png", np.zeros((42, 42), np.uint8))
    code, _, err = vhs(*command)
    assert code == 2 and "already holds another shard set" in err, err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda maps: (maps / "val/ant/val0.png").unlink(), "holds no map val0.png for the image val0"),
        (lambda maps: picture(maps / "val/ant/val0.png", np.full((42, 42), 7, np.uint8)), "holds region 7, --region-names names 2"),
        (lambda maps: picture(maps / "val/ant/val0.png", np.zeros((21, 42), np.uint8)), "is 21x42 px, its image 42x42"),
        (lambda maps: picture(maps / "val/ant/val0.png", np.zeros((42, 42, 3), np.uint8)), "is a RGB image"),
        (lambda maps: (maps / "val/ant/val0.png").write_bytes(b"no"), "cannot be decoded"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_map(vhs, source: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    spoil(source.parent / "maps")
    code, _, err = vhs("shard", source, "set", "--region-maps", source.parent / "maps", *NAMES)
    assert code == 3 and message in err and err.count("\n") == 1, err
    assert not Path("set/val/shards.json").exists()


def test_options_that_go_together(vhs, source: Path, toy_checkpoint: Path) -> None:
    code, _, err = vhs("shard", source, "set", *NAMES)
    assert code == 2 and "go together" in err
    code, _, err = vhs("shard", source, "set", "--region-maps", source.parent / "none", *NAMES)
    assert code == 3 and "is no folder" in err
    code, _, err = vhs("specialize", toy_checkpoint, "--regions")
    assert code == 3 and "has no maps of regions. `vhs shard chirps` makes a set with them" in err
    code, _, err = vhs("specialize", toy_checkpoint, "--regions", "--activity", 3)
    assert code == 2 and "both name the regions" in err


def test_maps_of_photographs_follow_the_crop() -> None:
    """A map made of an image's own brightness stays that under resize and crop."""
    rng = np.random.default_rng(0)
    for sides in ((375, 500), (500, 333), (224, 224), (90, 120)):
        coarse = rng.integers(0, 2, (sides[0] // 30 + 1, sides[1] // 30 + 1), dtype=np.uint8)
        labels = coarse.repeat(30, 0).repeat(30, 1)[: sides[0], : sides[1]]
        geometry = Geometry(256, (224, 224))
        image = pixels.resize_and_crop((labels * 255)[..., None].repeat(3, -1), geometry)
        made = pixels.crop_map(labels, geometry)
        assert made.shape == (224, 224)
        assert ((image[0] > 127) == made).mean() > 0.97
