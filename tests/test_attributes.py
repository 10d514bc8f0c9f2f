"""Attributes joined to images from a table: CSV or JSON lines, by file name; then effects of heads by them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from tests.conftest import CLASSES, toy_images
from tests.naive import ablated_logits
from vhs.errors import InputError
from vhs.formats import references
from vhs.formats.shards import ShardSet
from vhs.formats.split import Split, from_arrays
from vhs.runs.cache import choose, decode
from vhs.sources import attributes

FACTORS = (
    "multiple_objects", "background", "color", "brighter", "darker", "style", "larger", "smaller", "object_blocking",
    "person_blocking", "partial_view", "pattern", "pose", "shape", "subcategory", "texture",
)  # fmt: skip


def split_of(ids: list[str]) -> Split:
    from dataclasses import replace

    images = np.zeros((len(ids), 8, 8), np.uint8)
    made = from_arrays(images, np.zeros(len(ids), int), name="set", split="val", classes="a", prefix="x")
    return replace(made, ids=ids)


def joined(tmp_path: Path, text: str, ids: list[str], wanted: list[str] | None = None, name: str = "t.csv") -> Split:
    (tmp_path / name).write_text(text)
    (made,) = attributes.joined([split_of(ids)], attributes.read(tmp_path / name), wanted)
    return made


@pytest.mark.parametrize(
    ("ids", "files"),
    [
        (["a", "b"], ["a.png", "b.jpeg"]),
        (["a", "b"], ["deep/er/b.png", "a"]),
        (["cat__a", "dog__a"], ["dog/a.png", "cat/a.png"]),
        (["v1_a", "v1_b"], ["v1.b.png", "v1.a.png"]),
        (["ILSVRC2012_val_00000001", "b"], ["ILSVRC2012_val_00000001.JPEG", "b"]),
    ],
)
def test_rows_are_joined_by_base_name_path_or_id(tmp_path: Path, ids: list[str], files: list[str]) -> None:
    made = joined(tmp_path, "pose,file_name\n" + "".join(f"{file},{file}\n" for file in files), ids)
    stems = [name.replace("__", "/").replace("v1_", "v1.") for name in ids]
    assert all(stem in value for stem, value in zip(stems, made.attributes["pose"], strict=True))


def test_values_become_texts_and_others_have_a_row(tmp_path: Path) -> None:
    lines = [
        {"file_name": "a.png", "pose": 1, "style": None, "share": 0.5, "seen": True, "one": 1.0},
        {"file_name": "*", "pose": 0, "style": "", "share": 2, "seen": False},
    ]
    made = joined(tmp_path, "\n".join(map(json.dumps, lines)) + "\n", ["b", "a", "c"], name="t.jsonl")
    assert {name: list(values) for name, values in made.attributes.items()} == {
        "pose": ["0", "1", "0"], "style": ["none"] * 3, "share": ["2", "0.5", "2"], "seen": ["false", "true", "false"],
        "one": ["none", "1", "none"],
    }  # fmt: skip


def test_columns_of_many_values_are_left_out_and_said(tmp_path: Path) -> None:
    ids = [f"x{number}" for number in range(80)]
    (tmp_path / "t.csv").write_text("id,pose,why\n" + "".join(f"{name},{name[-1]},because {name}\n" for name in ids))
    table, notes = attributes.read(tmp_path / "t.csv"), []
    (made,) = attributes.joined([split_of(ids)], table, None, notes.append)
    assert list(made.attributes) == ["pose"] and "left out why (80 values)" in notes[0] and len(notes) == 1
    (made,) = attributes.joined([split_of(ids)], table, ["why"], notes.append)
    assert list(made.attributes) == ["why"] and len(notes) == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "file_name,pose\na.png,1\n", "no row for 1 of 2 images of set/val, the first b. Add them, or a row"),
        ("t.csv", "pose,style\n1,2\n", "no column of file names; it has pose, style. Call it file_name"),
        ("t.csv", "file_name,pose\n", "has no rows"),
        ("t.csv", "file_name,pose\na,1\nb\n", "row 3 has more or fewer fields"),
        ("t.csv", "file_name,pose\na,1\nb,1\na.png,2\n", "row 3: a.png has a row already"),
        ("t.csv", "file_name,label\na,1\nb,1\n", "is called label, which --by takes for classes"),
        ("t.csv", "file_name\na\nb\n", "no column has 64 values or fewer"),
        ("t.jsonl", '{"file_name": "a"}\nno\n', "line 2: expected a JSON object of plain values"),
        ("t.jsonl", '{"file_name": "a", "pose": [1]}\n', "line 1: expected a JSON object of plain values"),
    ],
)
def test_tables_that_cannot_be_joined(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        joined(tmp_path, text, ["a", "b"], name=name)


def test_a_column_that_is_not_there_and_a_missing_table(tmp_path: Path, vhs) -> None:
    with pytest.raises(InputError, match="has no column age; it has pose"):
        joined(tmp_path, "file_name,pose\na,1\n", ["a"], ["age"])
    source = tmp_path / "src" / "cat" / "a.png"
    source.parent.mkdir(parents=True)
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(source)
    for arguments, code, message in (
        (("--attributes", "no.csv"), 3, "no.csv: cannot be read: No such file"),
        (("--attribute-columns", "pose"), 2, "name the table, too"),
    ):
        found, _, err = vhs("shard", tmp_path / "src", "out", *arguments)
        assert found == code and message in err and err.count("\n") == 1


def test_training_shares_are_counted(tmp_path: Path) -> None:
    from dataclasses import replace

    train = replace(split_of(["a", "b", "c"]), split="train", extra={"train_groups": {"kind": {"x": 3}}})
    (tmp_path / "t.csv").write_text("id,pose\na,1\nb,0\nc,1\nd,0\n")
    made = attributes.joined([train, split_of(["d"])], attributes.read(tmp_path / "t.csv"), None)
    assert made[1].extra["train_groups"] == {"pose": {"1": 2, "0": 1}}
    assert made[0].extra["train_groups"] == {"kind": {"x": 3}, "pose": {"1": 2, "0": 1}}


@pytest.fixture
def imagenet_x(tmp_path: Path) -> tuple[Path, list[dict]]:
    """The toy images in class folders, and their factors as ImageNet-X has them: JSON lines with 16 times 0 or 1."""
    images, labels = toy_images(85, 2)
    rng, rows = np.random.default_rng(5), []
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "src" / CLASSES[label] / f"ILSVRC2012_val_{number + 1:08d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
        factors = {name: int(rng.random() < 0.4) for name in FACTORS}
        rows.append({"file_name": f"{place.stem}.JPEG", "class": int(label)} | factors)
        rows[-1] |= {"justification": f"image {number}", "one_word": f"word{number}", "metaclass": "other"}
    rng.shuffle(rows)  # type: ignore[arg-type]
    (tmp_path / "imagenet_x_val_multi_factor.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "src", rows


def test_effects_of_heads_by_factor(imagenet_x: tuple[Path, list[dict]], vhs, toy_checkpoint: Path) -> None:
    source, rows = imagenet_x
    code, _, err = vhs("shard", source, "x", "--attributes", "imagenet_x_val_multi_factor.jsonl")
    assert code == 0 and "left out justification (85 values), one_word (85 values)" in err
    data = ShardSet.open(Path("x"))
    assert data.manifest.groups == ("class", *FACTORS, "metaclass") and data.manifest.values["pose"] == ("0", "1")
    code, _, err = vhs(
        "ablate", toy_checkpoint, "--data", "x", "--by", "pose", "--by", "object_blocking", "-o", "t.csv"
    )
    assert code == 0, err
    table = pl.read_csv("t.csv").filter(pl.col("unit") == "head")
    told = {Path(row["file_name"]).stem: row for row in rows}
    samples = choose(data)
    model = references.load(str(toy_checkpoint), torch.device("cpu")).model
    pixels = model.preprocess(decode(data, samples).images_NCHW)
    labels = np.array([sample.label for sample in samples])
    right = ablated_logits(model.net, pixels).argmax(-1).numpy() == labels
    groups = table["group"].unique(maintain_order=True).to_list()
    assert groups == ["all", "pose=0", "pose=1", "object_blocking=0", "object_blocking=1"]
    for group in groups[1:]:
        name, _, value = group.partition("=")
        inside = np.array([str(told[sample.id][name]) == value for sample in samples])
        part = table.filter(pl.col("group") == group)
        assert set(part["n"]) == {inside.sum()}
        assert part["n_correct"].to_list() == right[:, inside].sum(1).tolist()
    code, out, err = vhs("evalshift", toy_checkpoint, "--data", "x", "--summary", "groups")
    assert code == 0 and set(pl.read_csv(out.encode())["attribute"]) >= set(FACTORS), err


def test_columns_are_chosen_and_a_shift_keeps_its_bases(
    imagenet_x: tuple[Path, list[dict]], vhs, tmp_path: Path, toy_shards: Path
) -> None:
    source, rows = imagenet_x
    with Path("pug.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "world_name", "yaw"])
        table.writerows([[row["file_name"], ("sea", "sky")[row["pose"]], row["color"] * 90] for row in rows])
    arguments = ("shard", source, "out", "--attributes", "pug.csv", "--attribute-columns", "world_name")
    assert vhs(*arguments)[0] == 0
    manifest = ShardSet.open(Path("out")).manifest
    assert manifest.groups == ("world_name",) and manifest.values["world_name"] == ("sea", "sky")
    code, _, err = vhs("shard", source, "again", "--base", "out")
    assert code == 0 and ShardSet.open(Path("again")).manifest.groups == ("world_name",), err
