"""Stored corruptions, in small files of the exact public layouts."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from vhs.errors import InputError, MismatchError
from vhs.formats.sharding import write_set
from vhs.formats.shards import ShardSet
from vhs.formats.split import from_arrays
from vhs.runs import conditions
from vhs.shifts.names import CATEGORY
from vhs.sources import corrupted, layouts
from vhs.sources.base import as_shifted

RNG = np.random.default_rng(0)
WNIDS = ("n01440764", "n01443537")


def imagenet_c(folder: Path, names: tuple[str, ...] = ("fog", "snow")) -> Path:
    for name in names:
        for severity in range(1, 6):
            for number, wnid in enumerate(WNIDS):
                place = folder / name / str(severity) / wnid
                place.mkdir(parents=True)
                pixels = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"ILSVRC2012_val_{number + 1:08d}.JPEG", quality=85)
    return folder


def test_imagenet_c_tree(tmp_path: Path, vhs) -> None:
    tree = imagenet_c(tmp_path / "imagenet-c")
    assert layouts.detect(str(tree)) == "imagenet-c"
    splits = corrupted.tree_splits(tree)
    assert [split.folder for split in splits] == [f"{n}/{s}" for n in ("snow", "fog") for s in range(1, 6)]
    assert splits[0].classes == WNIDS and splits[0].ids == ["ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002"]
    code, out, err = vhs("shard", tree, "shards")
    assert code == 0 and len(out.splitlines()) == 10, err
    assert ShardSet.open(Path("shards/fog/3")).manifest.extra["corruption"] == {"name": "fog", "severity": 3}
    (tree / "fog" / "3" / "n09999999").mkdir()
    with pytest.raises(InputError, match=r"fog/3: its class folders differ from the others' \(n09999999\)"):
        corrupted.tree_splits(tree)
    shutil.rmtree(tree / "fog" / "2")
    with pytest.raises(InputError, match="fog/2: is missing; severities 1 to 5 were expected"):
        corrupted.tree_splits(tree)


def cifar_c(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(np.arange(count, dtype=np.uint8) % 3, 5))
    np.save(folder / "contrast.npy", RNG.integers(0, 256, (5 * count, 32, 32, 3), dtype=np.uint8))
    return folder


def test_cifar_c_arrays(tmp_path: Path) -> None:
    folder = cifar_c(tmp_path / "CIFAR-10-C")
    assert layouts.detect(str(folder)) == "cifar-c"
    splits = corrupted.array_splits(folder)
    assert [split.folder for split in splits] == [f"contrast/{s}" for s in range(1, 6)]
    assert splits[4].ids[5] == "x-test-00005" and splits[4].labels == [0, 1, 2, 0, 1, 2]
    images = np.load(folder / "contrast.npy")
    decoded = np.asarray(Image.open(__import__("io").BytesIO(splits[2].encoded(1))))
    assert np.array_equal(decoded, images[2 * 6 + 1])


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("contrast", np.zeros((29, 32, 32, 3), np.uint8), "29 images, labels.npy has 30 labels"),
        ("contrast", np.zeros((30, 32, 32), np.uint8), "expected uint8 .*, RGB"),
        ("contrast", np.zeros((30, 32, 32, 3), np.float32), "is float32"),
        ("labels", np.zeros(29, np.uint8), "29 labels; expected the same N five times"),
        ("labels", np.arange(30, dtype=np.uint8) % 7, "expected the same N five times"),
    ],
)
def test_bad_arrays(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    folder = cifar_c(tmp_path / "c")
    np.save(folder / f"{name}.npy", array)
    with pytest.raises(InputError, match=message):
        corrupted.array_splits(folder)
    (folder / f"{name}.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="is no NumPy array"):
        corrupted.array_splits(folder)


def test_a_base_gives_classes_and_refuses_other_samples(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    clean = from_arrays(images, np.arange(6) % 3, name="cifar", split="val", classes=["a", "b", "c"], prefix="x-test")
    write_set(tmp_path / "clean", clean)
    splits = corrupted.array_splits(cifar_c(tmp_path / "c"))
    made = as_shifted(splits[0], tmp_path / "clean")
    assert made.classes == ("a", "b", "c") and made.base is not None and made.base["name"] == "cifar/val"
    with pytest.raises(MismatchError, match="x-test-00006 is not in"):
        as_shifted(corrupted.array_splits(cifar_c(tmp_path / "more", 9))[0], tmp_path / "clean")
    wrong = from_arrays(images, np.arange(6) % 2, name="w", split="val", classes=["a", "b", "c"], prefix="x-test")
    with pytest.raises(MismatchError, match="x-test-00002 has label 0, not 2"):
        as_shifted(wrong, tmp_path / "clean")


def test_stored_and_generated_tables_have_one_schema_and_pair_with_clean(
    tmp_path: Path, vhs, toy_checkpoint: Path, toy_shards: Path
) -> None:
    """Contrast, stored as files, gives the counts of contrast generated, and compare pairs it with clean."""
    import torch

    from vhs.runs.cache import choose, decode
    from vhs.shifts.corruption import corrupt

    data = decode(ShardSet.open(toy_shards / "val"), choose(ShardSet.open(toy_shards / "val")))
    for severity in range(1, 6):
        images = corrupt(data.images_NCHW, data.keys_N, "contrast", severity, 0)
        for pixels, label, name in zip(images, data.labels_N.tolist(), data.ids, strict=True):
            place = tmp_path / "toy-c" / "contrast" / str(severity) / data.manifest.classes[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[0].numpy()).save(place / f"{name}.png")
    assert isinstance(data.images_NCHW, torch.Tensor) and CATEGORY["contrast"] == "digital"
    assert vhs("shard", tmp_path / "toy-c", "toy-c", "--base", toy_shards / "val")[0] == 0
    code, _, err = vhs("ablate", toy_checkpoint, "--shift", "toy-c", "-o", "stored.csv")
    assert code == 0, err
    assert vhs("ablate", toy_checkpoint, "--shift", "contrast", "-o", "made.csv")[0] == 0
    stored, made = pl.read_csv("stored.csv"), pl.read_csv("made.csv")
    assert stored.drop("origin").equals(made.drop("origin"))
    assert set(stored["origin"]) == {"stored"} and "generated" in set(made["origin"])
    assert vhs("compare", "stored.csv", "-o", "agreement.csv")[0] == 0 and len(pl.read_csv("agreement.csv"))


def test_the_published_files_of_c_bar(tmp_path: Path, vhs) -> None:
    """Trees whose severities are called by strength, arrays as CIFAR-C's; a corruption that both have is of its set."""
    tree = tmp_path / "ImageNet-C-Bar"
    for strength in ("1.00", "2.00", "3.00", "5.00", "6.00"):
        place = tree / "sparkles" / strength / "n01440764"
        place.mkdir(parents=True)
        Image.fromarray(RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(place / "ILSVRC2012_val_00000001.JPEG")
    assert layouts.detect(str(tree)) == "imagenet-c"
    assert [split.folder for split in corrupted.tree_splits(tree)] == [f"sparkles/{s}" for s in range(1, 6)]
    arrays = cifar_c(tmp_path / "CIFAR-10-C-Bar")
    (arrays / "contrast.npy").rename(arrays / "sparkles.npy")
    assert layouts.detect(str(arrays)) == "cifar-c"
    for source, family in ((tree, "imagenet-c-bar"), (arrays, "cifar-c-bar")):
        assert vhs("shard", source, family)[0] == 0
        assert {item.name for item in conditions.parse([f"{family}/sparkles"])[1:]} == {
            f"{family}/sparkles:{severity}" for severity in range(1, 6)
        }
    shutil.rmtree(tree / "sparkles" / "3.00")
    with pytest.raises(InputError, match=r"sparkles: holds severities 1\.00, 2\.00, 5\.00, 6\.00; 5 were expected"):
        corrupted.tree_splits(tree)
