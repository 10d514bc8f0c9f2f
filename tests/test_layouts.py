"""Readers of public layouts, on small files in the exact layout of each."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vhs.errors import InputError, UsageError
from vhs.formats.shards import ShardSet
from vhs.formats.split import select
from vhs.sources import layouts
from vhs.sources.metadata import parse_columns

WNIDS = ("n01443537", "n01629819", "n01641577")


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (36, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def waterbirds(folder: Path) -> Path:
    """Header and values as in waterbird_complete95_forest2water2/metadata.csv."""
    rows = [
        (i, f"{i % 3:03d}.Bird/Bird_{i:04d}.jpg", int(i % 2), (0, 0, 0, 1, 2)[i % 5], int(i % 7 < 3), "/f/forest/x.jpg")
        for i in range(40)
    ]
    for row in rows:
        picture(folder / row[1], row[0])
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["img_id", "img_filename", "y", "split", "place", "place_filename"])
        table.writerows(rows)
    return folder


def read(folder: Path, columns: str | None = None):
    return layouts.read(str(folder), layouts.detect(str(folder)), columns)


def test_waterbirds_columns_splits_groups_and_training_shares(tmp_path: Path) -> None:
    parts = read(waterbirds(tmp_path / "wb"), "path=img_filename,label=y,split=split,group=y+place,attr=place")
    assert [part.split for part in parts] == ["train", "val", "test"]
    assert [len(part.ids) for part in parts] == [24, 8, 8] and parts[0].classes == ("0", "1")
    val = parts[1]
    assert list(val.attributes) == ["place", "group"]
    numbers = [int(name.split("_")[-1]) for name in val.ids]
    assert numbers == [i for i in range(40) if i % 5 == 3]
    assert list(val.attributes["group"]) == [f"{i % 2}+{int(i % 7 < 3)}" for i in numbers]
    train = [f"{i % 2}+{int(i % 7 < 3)}" for i in range(40) if i % 5 < 3]
    shares = val.extra["train_groups"]["group"]
    assert shares == {value: train.count(value) for value in set(train)}


def test_usual_column_names_are_found(tmp_path: Path) -> None:
    parts = read(waterbirds(tmp_path / "wb"))
    assert [part.split for part in parts] == ["train", "val", "test"] and not parts[0].attributes


@pytest.mark.parametrize(
    ("columns", "words"),
    [("path=nope", "no column nope; it has img_id"), ("path=img_filename,label=y,split=img_id", "row 2: split '0'")],
)
def test_columns_that_are_not_there(tmp_path: Path, columns: str, words: str) -> None:
    folder = waterbirds(tmp_path / "wb")
    if "split=img_id" in columns:
        (folder / "metadata.csv").write_text((folder / "metadata.csv").read_text().replace("\n0,", "\n77,"))
        words = "split '77'"
    with pytest.raises(InputError, match=words):
        read(folder, columns)


def test_a_missing_image_and_a_torn_row_are_named(tmp_path: Path) -> None:
    folder = waterbirds(tmp_path / "wb")
    (folder / "001.Bird" / "Bird_0004.jpg").unlink()
    with pytest.raises(InputError, match=r"Bird_0004\.jpg: No such file"):
        read(folder)
    (folder / "metadata.csv").write_text("path,label\na.png,0\nb.png\n")
    with pytest.raises(InputError, match="row 3 has more or fewer fields"):
        read(folder)
    (folder / "metadata.csv").write_text("path,label\n../a.png,0\n")
    with pytest.raises(InputError, match="leaves the folder"):
        read(folder)
    with pytest.raises(UsageError, match="expected ROLE=COLUMN"):
        parse_columns("path:a")


def test_domains_are_an_attribute(tmp_path: Path) -> None:
    for number, place in enumerate(("photo/dog", "photo/cat", "sketch/dog", "sketch/cat", "sketch/owl")):
        for copy in range(2):
            picture(tmp_path / "pacs" / place / f"pic_{copy}.png", number)
    (split,) = read(tmp_path / "pacs")
    assert layouts.detect(str(tmp_path / "pacs")) == "domains" and split.classes == ("cat", "dog", "owl")
    assert split.attributes["domain"] == ["photo"] * 4 + ["sketch"] * 6
    assert len(set(split.ids)) == 10


def test_train_and_val_folders_are_no_domains(tmp_path: Path) -> None:
    for place in ("train/dog", "train/cat", "val/dog", "val/cat"):
        picture(tmp_path / "x" / place / "a.png")
    assert layouts.detect(str(tmp_path / "x")) == "folders"


def test_cue_conflict_names_give_the_texture(tmp_path: Path) -> None:
    for shape, texture in (("cat", "dog"), ("dog", "cat"), ("cat", "cat")):
        picture(tmp_path / "cue" / shape / f"{shape}3-{texture}12.png")
    (split,) = read(tmp_path / "cue")
    assert split.classes == ("cat", "dog") and list(split.labels) == [0, 0, 1]
    assert split.attributes == {"texture": ["cat", "dog", "cat"], "cue": ["agree", "conflict", "conflict"]}
    picture(tmp_path / "cue" / "dog" / "dog9.png")
    with pytest.raises(InputError, match="dog9: expected SHAPE3-TEXTURE7"):
        read(tmp_path / "cue")


def tiny_imagenet(folder: Path) -> Path:
    (folder / "val").mkdir(parents=True)
    (folder / "wnids.txt").write_text("\n".join(reversed(WNIDS)) + "\n")
    lines = []
    for label, wnid in enumerate(WNIDS):
        for number in range(2):
            picture(folder / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", label, (64, 64))
            picture(folder / "val" / "images" / f"val_{label * 2 + number}.JPEG", label, (64, 64))
            lines.append(f"val_{label * 2 + number}.JPEG\t{wnid}\t0\t32\t44\t62")
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("x\n")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    picture(folder / "test" / "images" / "test_0.JPEG")
    return folder


def test_tiny_imagenet_as_unpacked(tmp_path: Path) -> None:
    folder = tiny_imagenet(tmp_path / "tiny-imagenet-200")
    train, val = read(folder)
    assert train.classes == val.classes == WNIDS and len(train.ids) == len(val.ids) == 6
    assert list(val.labels) == [0, 0, 1, 1, 2, 2]
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn00000000\t0\t0\t1\t1\n")
    with pytest.raises(InputError, match=r"line 1: class 'n00000000' is not in wnids\.txt"):
        read(folder)


def test_imagenet_v2_numbers_are_classes_in_numeric_order(tmp_path: Path) -> None:
    from timm.data import ImageNetInfo

    for number in range(1000):
        picture(tmp_path / "v2" / str(number) / f"{number:05d}.jpeg", number, (30, 30))
    (split,) = read(tmp_path / "v2")
    wnids = ImageNetInfo().label_names()
    assert split.classes == tuple(wnids) and list(split.labels) == list(range(1000))
    assert split.ids[10] == "00010" and split.classes[10] == wnids[10]


def test_classes_and_per_class_are_nested_subsets(tmp_path: Path, vhs) -> None:
    for name in ("ant", "bee", "cat"):
        for number in range(9):
            picture(tmp_path / "src" / name / f"{name}{number}.png", number)
    (split,) = read(tmp_path / "src")
    three, five = (select(split, ("cat", "ant"), count) for count in (3, 5))
    assert three.classes == ("cat", "ant") and set(three.ids) < set(five.ids) and len(three.ids) == 6
    assert all(three.classes[label] == name[:3] for label, name in zip(three.labels, three.ids, strict=True))
    with pytest.raises(UsageError, match="dog: is not among the 3 of src"):
        select(split, ("dog",), None)
    code, _, err = vhs("shard", tmp_path / "src", "out", "--classes", "cat,ant", "--per-class", 4)
    assert code == 0, err
    data = ShardSet.open(Path("out"))
    assert data.manifest.classes == ("cat", "ant") and data.manifest.samples == 8
    Path("names.txt").write_text("bee\nant\n")
    assert vhs("shard", tmp_path / "src", "two", "--classes", "@names.txt")[0] == 0
    assert ShardSet.open(Path("two")).manifest.classes == ("bee", "ant")


def test_attributes_are_stored_and_checked(tmp_path: Path, vhs) -> None:
    columns = "path=img_filename,label=y,split=split,group=y+place,attr=place"
    code, _, err = vhs("shard", waterbirds(tmp_path / "wb"), "wb-shards", "--columns", columns)
    assert code == 0, err
    data = ShardSet.open(Path("wb-shards/val"))
    assert data.manifest.groups == ("place", "group") and data.manifest.values["place"] == ("0", "1")
    for sample in data.samples():
        place, group = sample.attributes
        assert group == f"{sample.label}+{place}"
    assert "train_groups" in data.manifest.extra
    code, _, err = vhs("shard", tmp_path / "wb", "again", "--layout", "folders", "--columns", columns)
    assert code == 2 and "only metadata has columns" in err
