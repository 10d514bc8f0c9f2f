"""Trees and arrays of corruptions by any name: ImageNet-3DCC, ImageNet-C-bar, LAION-C, CIFAR-10-C-bar."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from vhs.errors import InputError
from vhs.formats.shards import ShardSet
from vhs.runs import conditions
from vhs.shifts.published import STORED
from vhs.sources import corrupted, layouts

WNIDS = ("n01440764", "n01443537")


def tree(folder: Path, names: dict[str, tuple[str, ...]], classes: tuple[str, ...] = WNIDS) -> Path:
    """CORRUPTION/SEVERITY/CLASS/IMAGE.JPEG."""
    for name, severities in names.items():
        for severity in severities:
            for number, label in enumerate(classes):
                place = folder / name / severity / label
                place.mkdir(parents=True)
                pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"ILSVRC2012_val_{number + 1:08d}.JPEG", quality=85)
    return folder


def test_3dcc_names_and_categories(tmp_path: Path, vhs) -> None:
    names = {name: ("1", "2", "3", "4", "5") for name in STORED}
    folder = tree(tmp_path / "imagenet-3dcc", names)
    assert layouts.detect(str(folder)) == "imagenet-c"
    code, out, err = vhs("shard", folder, "out")
    assert code == 0 and len(out.splitlines()) == 60, err
    made = conditions.parse(["out"])
    assert {item.shift for item in made[1:]} == {"imagenet-3dcc"} and len(made) == 61
    told = {item.corruption: item.category for item in made[1:]}
    assert told["near_focus"] == told["far_focus"] == "depth_of_field" and told["xy_motion_blur"] == "camera_motion"
    assert told["fog_3d"] == "weather" and told["h265_crf"] == "video" and told["iso_noise"] == "noise"
    assert [item.severity for item in made if item.corruption == "bit_error"] == [1, 2, 3, 4, 5]
    assert made[1].name == "imagenet-3dcc/bit_error:1" and made[1].origin == "stored" and not made[1].made


def test_what_some_corruptions_lack_is_said(tmp_path: Path, vhs) -> None:
    every = ("1", "2", "3", "4", "5")
    folder = tree(tmp_path / "imagenet-3dcc", {"near_focus": every, "fog_3d": ("1", "2", "4", "5")})
    code, _, err = vhs("shard", folder, "one")
    assert code == 0 and "fog_3d has no severity 3, others have; was the archive unpacked whole?" in err
    tree(folder, {"fog_3d": ("3",)})
    assert "unpacked whole" not in vhs("shard", folder, "two")[2]
    next((folder / "fog_3d/3").rglob("*.JPEG")).unlink()
    code, _, err = vhs("shard", folder, "three")
    assert code == 0 and "fog_3d/3 has 1 images, fog_3d/1 2, and not the same ones" in err


def test_severities_are_those_found_and_strengths_have_a_place(tmp_path: Path) -> None:
    folder = tree(tmp_path / "laion-c", {"mosaic": ("10", "2", "7"), "glitched": ("1",)}, ("ball", "bird"))
    found = corrupted.tree_splits(folder)
    assert [split.folder for split in found] == ["glitched/1", "mosaic/2", "mosaic/7", "mosaic/10"]
    assert found[1].extra["corruption"] == {"name": "mosaic", "severity": 2, "category": "other"}
    bar = tree(
        tmp_path / "ImageNet-C-Bar", {"veined_noise": ("4.75", "10.25", "0.50"), "zigzag": ("1.00", "2.00", "6.00")}
    )
    assert layouts.detect(str(bar)) == "imagenet-c"
    told = [split.extra["corruption"] for split in corrupted.tree_splits(bar)]
    assert [(part["name"], part["severity"], part["strength"]) for part in told] == [
        ("veined_noise", 1, "0.50"), ("veined_noise", 2, "4.75"), ("veined_noise", 3, "10.25"),
        ("zigzag", 1, "1.00"), ("zigzag", 2, "2.00"), ("zigzag", 3, "6.00"),
    ]  # fmt: skip
    shutil.rmtree(bar / "zigzag" / "2.00")
    with pytest.raises(InputError, match="zigzag: has 2 strengths, others 3; as many were expected"):
        corrupted.tree_splits(bar)


def test_known_names_keep_their_family_and_order_beside_others(tmp_path: Path, vhs) -> None:
    five = ("1", "2", "3", "4", "5")
    folder = tree(tmp_path / "mine", {"zebra": ("3",), "fog": five, "speckle_noise": five, "ant": ("1", "2")})
    (folder / "notes").mkdir()
    assert vhs("shard", folder, "out")[0] == 0
    made = conditions.parse(["out"])[1:]
    assert [item.name for item in made if item.severity in (1, 3)] == [
        "imagenet-c/fog:1", "imagenet-c/fog:3", "imagenet-c-extra/speckle_noise:1", "imagenet-c-extra/speckle_noise:3",
        "mine/ant:1", "mine/zebra:3",
    ]  # fmt: skip
    assert ShardSet.open(Path("out/fog/3")).manifest.extra["corruption"] == {"name": "fog", "severity": 3}


def test_other_layouts_are_not_taken_for_trees(tmp_path: Path) -> None:
    def picture(place: str) -> None:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((30, 30, 3), np.uint8)).save(path)

    for place in ("photo/0/a.png", "photo/1/b.png", "sketch/0/c.png", "sketch/1/d.png"):
        picture(f"digits/{place}")
    for place in ("train/1/a/x.png", "train/2/a/y.png", "val/1/a/x.png", "val/2/a/y.png"):
        picture(f"split/{place}")
    for place in ("cat/1/x.png", "dog/1/y.png"):
        picture(f"numbered/{place}")
    for place in ("cat/images/x.png", "dog/images/y.png"):
        picture(f"nested/{place}")
    found = {name: layouts.detect(str(tmp_path / name)) for name in ("digits", "split", "numbered", "nested")}
    assert found == {"digits": "domains", "split": "folders", "numbered": "domains", "nested": "domains"}


def test_a_wrong_depth_is_one_clear_line(tmp_path: Path, vhs) -> None:
    folder = tree(tmp_path / "root" / "3dcc", {"near_focus": ("1", "2", "3"), "flash": ("1", "2", "3")})
    for source, message in (
        (folder / "near_focus", "holds severities (1, 2, 3), so it seems to be one corruption. Name the folder around"),
        (tmp_path / "root", f"holds a tree of corruptions in 3dcc, one level too deep. Name {folder}"),
    ):
        code, _, err = vhs("shard", source, "out")
        assert code == 3 and message in err and err.count("\n") == 1, err
    (split,) = layouts.read(str(folder / "near_focus"), "domains")
    assert set(split.attributes["domain"]) == {"1", "2", "3"}
    code, _, err = vhs("shard", folder / "near_focus" / "1", "out", "--layout", "imagenet-c")
    assert code == 3 and "n01440764: holds no folders; expected CORRUPTION/SEVERITY/CLASS/IMAGE with numbers" in err
    (folder / "flash" / "2" / "n09999999").mkdir()
    with pytest.raises(InputError, match=r"flash/2: its class folders differ from the others' \(n09999999\)"):
        corrupted.tree_splits(folder)


def arrays(folder: Path, names: tuple[str, ...], severities: int, labels: np.ndarray) -> np.ndarray:
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (severities * 6, 32, 32, 3), dtype=np.uint8)
    for name in names:
        np.save(folder / f"{name}.npy", images)
    np.save(folder / "labels.npy", labels)
    return images


@pytest.mark.parametrize("once", [False, True])
def test_cifar_c_bar_arrays(tmp_path: Path, once: bool) -> None:
    """As make_cifar10_c_bar.py writes them: labels of all five severities, of type int64; or the labels once."""
    labels = np.arange(6) % 3
    severities = 3 if once else 5
    folder = tmp_path / "CIFAR-10-C-Bar"
    images = arrays(folder, ("ripple", "blue_noise_sample"), severities, labels if once else np.tile(labels, 5))
    assert layouts.detect(str(folder)) == "cifar-c"
    found = corrupted.array_splits(folder)
    assert [split.folder for split in found][:2] == ["blue_noise_sample/1", "blue_noise_sample/2"]
    assert len(found) == 2 * severities and found[-1].folder == f"ripple/{severities}"
    assert found[-1].ids == [f"x-test-{number:05d}" for number in range(6)] and list(found[-1].labels) == [0, 1, 2] * 2
    decoded = np.asarray(Image.open(__import__("io").BytesIO(found[1].encoded(4))))
    assert np.array_equal(decoded, images[10])


def test_arrays_that_are_no_corruptions(tmp_path: Path) -> None:
    arrays(tmp_path / "plain", ("images",), 1, np.arange(6))
    (tmp_path / "plain" / "sub").mkdir()
    assert layouts.detect(str(tmp_path / "plain")) == "folders"
    arrays(tmp_path / "odd", ("ripple",), 1, np.arange(7) % 3)
    with pytest.raises(InputError, match="7 labels; expected the same N five times, one for a severity, or N once"):
        layouts.read(str(tmp_path / "odd"), "cifar-c")


@pytest.fixture
def toy_tree(tmp_path: Path, toy_shards: Path) -> Path:
    """The toy val set as a tree: contrast under its own name and two others, the latter at severities 2 and 6."""
    import torch

    from vhs.runs.cache import choose, decode
    from vhs.shifts.corruption import corrupt

    data = decode(ShardSet.open(toy_shards / "val"), choose(ShardSet.open(toy_shards / "val")))
    assert isinstance(data.images_NCHW, torch.Tensor)
    for name, severity, made in (
        ("near_focus", 2, 2), ("near_focus", 6, 5), ("iso_noise", 2, 3), ("iso_noise", 6, 4),
    ):  # fmt: skip
        images = corrupt(data.images_NCHW, data.keys_N, "contrast", made, 0)
        for pixels, label, sample in zip(images, data.labels_N.tolist(), data.ids, strict=True):
            place = tmp_path / "toy-3dcc" / name / str(severity) / data.manifest.classes[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[0].numpy()).save(place / f"{sample}.png")
    return tmp_path / "toy-3dcc"


def test_from_the_tree_to_tables_figures_and_resume(
    toy_tree: Path, vhs, toy_checkpoint: Path, toy_shards: Path
) -> None:
    assert vhs("shard", toy_tree, "out", "--base", toy_shards / "val")[0] == 0
    code, _, err = vhs("ablate", toy_checkpoint, "--shift", "out", "--shift", "gaussian_noise", "-o", "heads.csv")
    assert code == 0, err
    table = pl.read_csv("heads.csv")
    keys = table.filter(pl.col("shift") == "toy-3dcc").select("category", "corruption", "severity", "origin").unique()
    assert sorted(keys.rows()) == [
        ("depth_of_field", "near_focus", 2, "stored"), ("depth_of_field", "near_focus", 6, "stored"),
        ("noise", "iso_noise", 2, "stored"), ("noise", "iso_noise", 6, "stored"),
    ]  # fmt: skip
    assert vhs("ablate", toy_checkpoint, "--shift", "contrast:2,5", "-o", "made.csv")[0] == 0
    for stored, made in ((2, 2), (6, 5)):
        ours = table.filter((pl.col("corruption") == "near_focus") & (pl.col("severity") == stored))
        theirs = pl.read_csv("made.csv").filter(pl.col("severity") == made)
        assert ours["n_correct"].to_list() == theirs["n_correct"].to_list()
    code, _, err = vhs("compare", "heads.csv", "--summary", "rollup", "-o", "rollup.csv")
    assert code == 0, err
    over = pl.read_csv("rollup.csv")
    assert {"noise", "noise (toy-3dcc)", "depth_of_field", "toy-3dcc", "near_focus"} <= set(over["over"])
    assert set(over.filter(pl.col("over") == "noise")["n_conditions"]) == {5}
    assert set(over.filter(pl.col("over") == "noise (toy-3dcc)")["n_conditions"]) == {2}
    assert vhs("evalshift", toy_checkpoint, "--shift", "out", "-o", "shift.csv")[0] == 0
    for source in ("heads.csv", "rollup.csv", "shift.csv"):
        code, _, err = vhs("plot", source, "-o", f"{source}.png")
        assert code == 0 and Path(f"{source}.png").stat().st_size > 1000, err
    code, _, err = vhs("compare", "heads.csv", "-o", "agreement.csv")
    assert code == 0, err
    code, _, err = vhs("report", "heads.csv", "shift.csv", "-o", "report.html")
    assert code == 0, err


def test_a_stopped_run_goes_on_with_other_names(
    toy_tree: Path, vhs, toy_checkpoint: Path, toy_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vhs.runs import run
    from vhs.runs.conditions import Condition

    assert vhs("shard", toy_tree, "out", "--base", toy_shards / "val")[0] == 0
    arguments = ("evalshift", toy_checkpoint, "--shift", "out", "-o")
    assert vhs(*arguments, "whole.csv")[0] == 0
    measured, whole = [], run._measure

    def stopping(own: run.Run, condition: Condition, make: object) -> object:
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append(condition.name)
        return whole(own, condition, make)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "_measure", stopping)
    assert vhs(*arguments, "t.csv")[0] == 130 and not Path("t.csv").exists()
    monkeypatch.setattr(run, "_measure", whole)
    code, _, err = vhs(*arguments, "t.csv", "--resume")
    assert code == 0 and "continuing after 3 of 5 conditions" in err
    assert Path("t.csv").read_bytes() == Path("whole.csv").read_bytes()


def test_mce_takes_the_fifteen_alone(vhs, toy_checkpoint: Path, toy_tree: Path, toy_shards: Path) -> None:
    assert vhs("shard", toy_tree, "out", "--base", toy_shards / "val")[0] == 0
    arguments = ("evalshift", toy_checkpoint, "--max-samples", "40", "--shift", "imagenet-c", "--summary", "mce", "-o")
    assert vhs(*arguments, "alone.csv")[0] == 0 and vhs(*arguments, "both.csv", "--shift", "out")[0] == 0
    assert Path("alone.csv").read_bytes() == Path("both.csv").read_bytes()
    code, _, err = vhs("evalshift", toy_checkpoint, "--shift", "out", "--summary", "mce")
    assert code == 4 and "no mean over a part" in err


@pytest.mark.parametrize(
    "kind", [{"name": "x", "severity": 0}, {"name": 3, "severity": 1}, {"name": "", "severity": 1}, "x", {}, {"name": "x"},
             {"name": "x", "severity": True}, {"name": "x", "severity": 1.5}],
)  # fmt: skip
def test_what_a_manifest_cannot_say_is_the_set_alone(tmp_path: Path, kind: object) -> None:
    from dataclasses import replace

    from vhs.formats.sharding import write_set

    (split, *_) = corrupted.tree_splits(tree(tmp_path / "t", {"odd": ("1",)}))
    write_set(tmp_path / "out", replace(split, extra={"corruption": kind}))
    (_, made) = conditions.parse([str(tmp_path / "out")])
    assert (made.shift, made.corruption, made.severity) == ("t", None, 0)
