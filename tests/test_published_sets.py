"""Sets as they are published, in small files of each exact layout: SVHN, STL-10, Food-101, Flowers-102, Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from scipy.io import savemat

from tests.hub import hub
from vhs.errors import InputError
from vhs.formats.shards import ShardSet
from vhs.formats.split import Split
from vhs.sources import layouts, parquet

RNG = np.random.default_rng(0)


def read(folder: Path, columns: str | None = None) -> list[Split]:
    return layouts.read(str(folder), layouts.detect(str(folder)), columns)


def decoded(split: Split, position: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(split.encoded(position))))


def jpeg(path: Path, seed: int = 0, side: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


def svhn_one(folder: Path) -> None:
    svhn(folder, {"test": 2})


def hub_one(folder: Path) -> None:
    hub(folder / "data", list("ab"), {"train": [0, 1]})


def svhn(folder: Path, counts: dict[str, int]) -> dict[str, np.ndarray]:
    """X [32, 32, 3, N] uint8, y [N, 1] uint8 of 1 to 10, compressed, as on the set's page."""
    folder.mkdir(parents=True)
    made = {}
    for name, count in counts.items():
        made[name] = RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count, dtype=np.uint8) % 10 + 1)[:, None]
        savemat(folder / f"{name}_32x32.mat", {"X": made[name], "y": labels}, do_compression=True)
    return made


def test_svhn_pixels_and_the_ten_that_means_zero(tmp_path: Path) -> None:
    made = svhn(tmp_path / "svhn", {"train": 12, "test": 11, "extra": 3})
    assert layouts.detect(str(tmp_path / "svhn")) == "svhn"
    train, val, extra = read(tmp_path / "svhn")
    assert [part.split for part in (train, val, extra)] == ["train", "val", "extra"]
    assert list(train.labels) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert train.classes == tuple("0123456789") and val.ids[10] == "x-test-00010" and extra.ids[0] == "x-extra-00000"
    for position in (0, 7):
        assert np.array_equal(decoded(val, position), made["test"][..., position])


def test_svhn_of_one_file_and_what_is_no_svhn(tmp_path: Path) -> None:
    svhn(tmp_path / "svhn", {"test": 4})
    (only,) = read(tmp_path / "svhn")
    assert only.split == "val"
    path = tmp_path / "svhn" / "test_32x32.mat"
    whole = path.read_bytes()
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: path.write_bytes(whole[: len(whole) // 2]), "Is (it|the file) whole"),
        (
            lambda: path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + bytes(600)),
            r"is of MATLAB 7\.3 \(HDF5\)",
        ),
        (lambda: path.write_bytes(b"no such thing"), "cannot be read as a MATLAB file"),
        (lambda: savemat(path, {"X": np.zeros((32, 32, 3, 2), np.uint8)}), r"holds X \(uint8\); expected an array y"),
        (lambda: savemat(path, {"X": np.zeros((2, 32, 32, 3), np.uint8), "y": [[1], [2]]}), "expected uint8"),
        (lambda: savemat(path, {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[0], [2]]}), "expected 1 to 10 for 2"),
        (lambda: savemat(path, {"X": np.array([{}], object), "y": [[1]]}), "expected an array X of numbers"),
    ]
    for spoil, message in cases:
        spoil()
        with pytest.raises(InputError, match=message):
            read(tmp_path / "svhn")


def stl10(folder: Path) -> np.ndarray:
    """Planes column by column: byte ((image * 3 + colour) * 96 + column) * 96 + row."""
    folder.mkdir(parents=True)
    names = "airplane bird car cat deer dog horse monkey ship truck"
    (folder / "class_names.txt").write_text("\n".join(names.split()) + "\n")
    images = RNG.integers(0, 256, (5, 96, 96, 3), dtype=np.uint8)
    for split, count in (("train", 5), ("test", 3)):
        stored = bytearray()
        for image in images[:count]:
            for colour in range(3):
                for column in range(96):
                    stored += image[:, column, colour].tobytes()
        (folder / f"{split}_X.bin").write_bytes(stored)
        (folder / f"{split}_y.bin").write_bytes(bytes([1, 10, 3, 2, 1][:count]))
    (folder / "unlabeled_X.bin").write_bytes(b"\0" * 27648)
    (folder / "fold_indices.txt").write_text("0 1\n")
    return images


@pytest.mark.parametrize("around", [False, True])
def test_stl10_columns_come_first(tmp_path: Path, around: bool) -> None:
    images = stl10(tmp_path / "data" / "stl10_binary")
    folder = tmp_path / "data" / ("" if around else "stl10_binary")
    assert layouts.detect(str(folder)) == "stl-10"
    train, val = read(folder)
    assert list(train.labels) == [0, 9, 2, 1, 0] and train.classes[9] == "truck" and len(val.ids) == 3
    assert np.array_equal(decoded(train, 4), images[4]) and np.array_equal(decoded(val, 1), images[1])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("test_X.bin", bytes(27648 * 2 + 5), "test_X.bin: has 55,301 bytes; expected 27,648 an image"),
        ("test_X.bin", b"", "has 0 bytes"),
        ("test_y.bin", b"\1\2", "has 2 labels of 1 to 2; expected 3 of 1 to 10"),
        ("test_y.bin", b"\1\2\0", "3 labels of 0 to 2"),
        ("train_y.bin", None, "train_y.bin: cannot be read"),
        ("class_names.txt", None, "class_names.txt: is missing"),
    ],
)
def test_stl10_that_is_not_whole(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    stl10(tmp_path / "stl10_binary")
    path = tmp_path / "stl10_binary" / name
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "stl10_binary")


def food101(folder: Path) -> Path:
    for number in range(6):
        jpeg(folder / "images" / ("apple_pie", "baklava")[number % 2] / f"{1000 + number}.jpg", number)
    meta = folder / "meta"
    meta.mkdir()
    (meta / "classes.txt").write_text("apple_pie\nbaklava\n")
    (meta / "labels.txt").write_text("Apple pie\nBaklava\n")
    (meta / "train.txt").write_text("apple_pie/1000\napple_pie/1002\nbaklava/1001\n")
    (meta / "test.txt").write_text("apple_pie/1004\nbaklava/1003\nbaklava/1005\n")
    return folder


def test_food101(tmp_path: Path) -> None:
    food101(tmp_path / "root" / "food-101")
    for folder in (tmp_path / "root", tmp_path / "root" / "food-101"):
        assert layouts.detect(str(folder)) == "food-101"
        train, val = read(folder)
        assert train.ids == ["1000", "1002", "1001"] and list(train.labels) == [0, 0, 1]
        assert val.classes == ("apple_pie", "baklava") and list(val.labels) == [0, 1, 1] and val.name == "food-101"
    meta = tmp_path / "root" / "food-101" / "meta"
    (meta / "test.txt").write_text("apple_pie/1004\nborscht/1\n")
    with pytest.raises(InputError, match=r"test\.txt: line 2: 'borscht/1'; expected CLASS/ID"):
        read(tmp_path / "root")
    (meta / "test.txt").write_text("apple_pie/7\n")
    with pytest.raises(InputError, match=r"7\.jpg: No such file"):
        read(tmp_path / "root")
    (meta / "test.txt").unlink()
    with pytest.raises(InputError, match=r"meta/test\.txt: is missing"):
        read(tmp_path / "root")


def flowers(folder: Path) -> Path:
    """As the VGG page has them: labels uint8 [1, N], the three sets uint16 [1, n]."""
    for number in range(1, 9):
        jpeg(folder / "jpg" / f"image_{number:05d}.jpg", number)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[77, 1, 102, 2, 3, 4, 5, 6]], np.uint8)})
    sets = {"trnid": [[3, 1]], "valid": [[2, 4]], "tstid": [[5, 6, 7, 8]]}
    savemat(folder / "setid.mat", {name: np.array(value, np.uint16) for name, value in sets.items()})
    return folder


def test_flowers102(tmp_path: Path) -> None:
    folder = flowers(tmp_path / "flowers-102")
    assert layouts.detect(str(folder)) == layouts.detect(str(tmp_path)) == "flowers-102"
    train, val, test = read(folder)
    assert train.ids == ["image_00003", "image_00001"] and list(train.labels) == [101, 76]
    assert [train.classes[label] for label in train.labels] == ["102", "77"]
    assert list(val.labels) == [0, 1] and test.split == "test" and len(test.ids) == 4
    savemat(folder / "setid.mat", {"trnid": [[1, 9]], "valid": [[2]], "tstid": [[3]]})
    with pytest.raises(InputError, match="trnid names images beyond the 8"):
        read(folder)
    savemat(folder / "imagelabels.mat", {"labels": [[103] * 8]})
    with pytest.raises(InputError, match="not 1 to 102"):
        read(folder)
    (folder / "imagelabels.mat").unlink()
    with pytest.raises(InputError, match=r"imagelabels\.mat: is missing"):
        read(folder)


def test_tf_flowers_are_class_folders(tmp_path: Path) -> None:
    for number, name in enumerate(("daisy", "roses", "tulips")):
        jpeg(tmp_path / "flower_photos" / name / f"{number}_abc.jpg", number)
    (tmp_path / "flower_photos" / "LICENSE.txt").write_text("CC-BY 2.0\n")
    assert layouts.detect(str(tmp_path / "flower_photos")) == "folders"
    (split,) = read(tmp_path / "flower_photos")
    assert split.classes == ("daisy", "roses", "tulips") and split.split == "val" and len(split.ids) == 3
    with pytest.raises(
        InputError,
        match=r"holds only the folder flower_photos, .* Name the folder that holds the classes: .*flower_photos\?",
    ):
        read(tmp_path)


def test_hub_parquet_splits_names_and_bytes(tmp_path: Path) -> None:
    labels = {
        "train-00000-of-00002": [0, 1, 2, 1, 0], "train-00001-of-00002": [2, 2], "validation-00000-of-00001": [1, 0, 2],
        "test-00000-of-00001": [-1, -1],
    }  # fmt: skip
    images = hub(tmp_path / "set" / "data", ["ant", "bee", "cat"], labels)
    assert layouts.detect(str(tmp_path / "set")) == layouts.detect(str(tmp_path / "set" / "data")) == "parquet"
    test, train, val = images[10:], images[:7], images[7:10]
    found = {part.split: part for part in read(tmp_path / "set")}
    assert set(found) == {"train", "val"} and len(test) == 2  # the test images have no labels
    assert list(found["train"].labels) == [0, 1, 2, 1, 0, 2, 2] and found["train"].classes == ("ant", "bee", "cat")
    assert [found["train"].encoded(position) for position in (6, 0, 4, 5)] == [train[i] for i in (6, 0, 4, 5)]
    assert [found["val"].encoded(position) for position in range(3)] == val
    assert found["val"].ids == ["valid_0000", "valid_0001", "valid_0002"]
    assert found["train"].ids[:2] == ["train-000000", "train-000001"]  # two files with paths of the same names
    (tmp_path / "set" / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"train-00001-of-00002\.parquet: is missing. Download all 2 files"):
        read(tmp_path / "set")


def test_hub_parquet_is_read_some_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROWS", 3)
    count = 40
    images = hub(tmp_path / "data", list("ab"), {"train-00000-of-00001": [i % 2 for i in range(count)]})
    (split,) = read(tmp_path)
    assert [split.encoded(position) for position in range(count)] == images
    rows = split.encoded.__self__  # type: ignore[attr-defined]
    assert sum(len(block) for block in rows._blocks.values()) <= parquet.KEPT * 3 < count


def test_hub_parquet_with_several_labels(tmp_path: Path, vhs) -> None:
    hub(tmp_path / "hard" / "data", None, {"test-00000-of-00001": [[3, 1], [0], [2, 2, 3], [1]]})
    (split,) = read(tmp_path / "hard")
    assert split.split == "test" and split.classes == tuple("0123")
    assert split.several == ((3, 1), (0,), (2, 3), (1,)) and list(split.labels) == [3, 0, 2, 1]


def test_hub_parquet_columns(tmp_path: Path) -> None:
    hub(tmp_path / "data", list("ab"), {"train": [0, 1]})
    (split,) = read(tmp_path, "label=label,attr=origin")
    assert list(split.attributes["origin"]) == ["imagenet_sketch"] * 2
    with pytest.raises(InputError, match=r"expected one column of whole numbers.*--columns path=…,label=…"):
        read(tmp_path, "label=image")
    (words,) = read(tmp_path, "label=origin")
    assert words.classes == ("imagenet_sketch",) and list(words.labels) == [0, 0]


def test_hub_parquet_as_the_hub_converts_it(tmp_path: Path) -> None:
    """default/train/0000.parquet; labels in words, numbered over all splits."""
    images = hub(tmp_path / "default" / "train", list("ab"), {"0000": [0, 1], "0001": [1]})
    hub(tmp_path / "default" / "test", list("ab"), {"0000": [1]})
    train, test = read(tmp_path)
    assert (train.split, test.split) == ("train", "test") and list(train.labels) == [0, 1, 1]
    assert train.encoded(2) == images[2]
    for split, words in (("train", ["emu", "cat", None]), ("test", ["cat"])):
        for path in sorted((tmp_path / "default" / split).glob("*.parquet")):
            table = pl.read_parquet(path)
            told, words = words[: len(table)], words[len(table) :]
            table.with_columns(label=pl.Series(told, dtype=pl.String)).write_parquet(path)
    with pytest.raises(InputError, match="row 2 of label is empty"):
        read(tmp_path)
    table.write_parquet(path)
    (tmp_path / "default" / "train" / "0001.parquet").rename(tmp_path / "default" / "train" / "0002.parquet")
    with pytest.raises(InputError, match=r"0001\.parquet: is missing"):
        read(tmp_path)


def test_hub_parquet_of_two_versions_is_refused(tmp_path: Path) -> None:
    hub(tmp_path / "data", ["cat", "dog"], {"train": [0, 1]})
    hub(tmp_path / "data", ["dog", "cat"], {"validation": [0, 1]})
    with pytest.raises(InputError, match=r"files of train and val name the classes differently \(cat, dog\)"):
        read(tmp_path)


def test_hub_parquet_of_two_kinds_of_labels_is_refused(tmp_path: Path) -> None:
    hub(tmp_path / "data", list("ab"), {"train-00000-of-00002": [0, 1], "train-00001-of-00002": [0, 1]})
    path = tmp_path / "data/train-00000-of-00002.parquet"
    pl.read_parquet(path).with_columns(label=pl.Series(["cat", "dog"])).write_parquet(path)
    with pytest.raises(InputError, match=r"labels are words in train-00000-of.* and numbers in train-00001-of"):
        read(tmp_path)


def test_hub_parquet_of_paths_alone_is_told(tmp_path: Path) -> None:
    hub(tmp_path / "data", list("ab"), {"train": [0, 1]})
    table = pl.read_parquet(tmp_path / "data/train.parquet")
    bare = pl.col("image").struct.with_fields(pl.lit(None, pl.Binary).alias("bytes"))
    table.with_columns(bare).write_parquet(tmp_path / "data/train.parquet")
    with pytest.raises(InputError, match="holds paths and no image bytes"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read as Parquet"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "cannot be read as Parquet"),
        (lambda path: pl.DataFrame({"label": [1]}).write_parquet(path), "expected one column of structs of bytes"),
        (lambda path: hub(path.parent, list("ab"), {path.stem: [0, 7]}), "label 7; its metadata names 2 classes"),
        (lambda path: hub(path.parent, None, {path.stem: [[1], []]}), r"row 1 of label is \[\]; expected labels"),
        (lambda path: hub(path.parent, None, {path.stem: [-1, -1]}), "none of its splits .* has labels"),
        (lambda path: hub(path.parent, None, {path.stem: [3, -1]}), r"row 1 of label is \[-1\]"),
    ],
)
def test_hub_parquet_that_is_not_as_published(tmp_path: Path, spoil: Callable, message: str) -> None:
    hub(tmp_path / "data", list("ab"), {"train-00000-of-00001": [0, 1]})
    spoil(tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_parquet_packs_to_the_same_bytes_as_its_images(tmp_path: Path, vhs) -> None:
    images = hub(tmp_path / "set" / "data", list("ab"), {"train": [0, 1], "validation": [1, 0]})
    code, out, err = vhs("shard", tmp_path / "set", "out")
    assert code == 0 and len(out.splitlines()) == 2, err
    stored = [bytes(sample.image) for sample in ShardSet.open(Path("out/val")).samples()]
    assert stored == images[2:] and ShardSet.open(Path("out/val")).manifest.source == "set"


@pytest.mark.parametrize("make", [svhn_one, stl10, food101, flowers, hub_one], ids=lambda make: make.__name__)
def test_a_wrong_depth_is_one_line(tmp_path: Path, vhs, make: Callable[[Path], object]) -> None:
    """Two levels above the files, whether the layout is told or found out."""
    make(tmp_path / "a" / "b" / "set")
    layout = {"svhn_one": "svhn", "stl10": "stl-10", "food101": "food-101", "flowers": "flowers-102"}
    for told in ((), ("--layout", layout.get(make.__name__, "parquet"))):
        code, _, err = vhs("shard", tmp_path / "a", "out", *told)
        assert code == 3 and err.count("\n") == 1 and "/a: holds" in err, err
        assert not Path("out").exists()
