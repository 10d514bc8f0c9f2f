"""Rows by group, worst groups, classes that are only some of the model's, JPEG, and many processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import CLASSES, toy_images
from tests.shells import torchrun
from vhs.formats.sharding import write_set
from vhs.formats.split import from_arrays, select
from vhs.measures.intervals import weighted_mean


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    """The toy val set with an attribute `side` that depends on nothing, and shares of a training split."""
    images, labels = toy_images(85, 2)
    split = from_arrays(images, labels, name="toy", split="val", classes=CLASSES, prefix="val")
    sides = ["left" if number % 3 else "right" for number in range(85)]
    shares = {"side": {"left": 90, "right": 10}}
    write_set(tmp_path / "grouped", replace(split, attributes={"side": sides}, extra={"train_groups": shares}))
    return tmp_path / "grouped"


def test_groups_partition_the_samples(grouped: Path, vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("evalshift", toy_checkpoint, "--data", grouped, "--shift", "contrast:3", "--by", "side",
                       "--by", "label", "-o", "t.csv")  # fmt: skip
    assert code == 0, err
    table = pl.read_csv("t.csv")
    assert table["group"].to_list()[:8] == ["all", "side=left", "side=right", *(f"label={name}" for name in CLASSES)]
    for _, rows in table.group_by("shift"):
        whole = rows.filter(pl.col("group") == "all")
        for attribute in ("side=", "label="):
            parts = rows.filter(pl.col("group").str.starts_with(attribute))
            for column in ("n", "n_correct", "n_correct5"):
                assert parts[column].sum() == whole[column].item()
            assert np.isclose((parts["loss"] * parts["n"]).sum() / 85, whole["loss"].item(), atol=1e-6)
    calibration = pl.read_parquet("t.calibration.parquet")
    assert calibration.group_by("shift", "group").agg(pl.col("n").sum())["n"].sum() == table["n"].sum()


def test_worst_group_and_average_at_training_proportions(grouped: Path, vhs, toy_checkpoint: Path) -> None:
    assert vhs("evalshift", toy_checkpoint, "--data", grouped, "-o", "t.csv")[0] == 0
    code, out, err = vhs("evalshift", toy_checkpoint, "--data", grouped, "--summary", "groups")
    assert code == 0, err
    row = pl.read_csv(out.encode()).row(0, named=True)
    sides = pl.read_csv("t.csv").filter(pl.col("group") != "all")
    left, right = sides["top1"].to_list()
    assert row["attribute"] == "side" and row["worst"] == ("left" if left < right else "right")
    assert np.isclose(row["adjusted_top1"], 0.9 * left + 0.1 * right) and row["n"] == 85
    assert np.isclose(row["mean_top1"], (left + right) / 2) and np.isclose(row["worst_top1"], min(left, right))
    code, out, _ = vhs("compare", "t.csv", "--summary", "groups")
    assert code == 0 and pl.read_csv(out.encode())["worst"][0] == row["worst"]


def test_groups_that_are_not_there(vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("evalshift", toy_checkpoint, "--by", "habitat")
    assert code == 2 and "--by habitat: toy has label" in err
    code, _, err = vhs("evalshift", toy_checkpoint, "--summary", "groups")
    assert code == 4 and "the table has no groups" in err


def test_weighted_mean_covers() -> None:
    rng = np.random.default_rng(0)
    n, p, weights = np.array([200, 30, 15]), np.array([0.9, 0.6, 0.99]), (0.2, 0.3, 0.5)
    truth = float(np.dot(p, weights))
    hits = [lo <= truth <= hi for _, lo, hi in (weighted_mean(rng.binomial(n, p), n, weights) for _ in range(4000))]
    assert np.mean(hits) > 0.93


@pytest.fixture
def fewer(tmp_path: Path) -> Path:
    """A shifted set with three of the five classes, in another order."""
    images, labels = toy_images(60, 3)
    split = from_arrays(images, labels, name="toy-r", split="val", classes=CLASSES, prefix="r")
    write_set(tmp_path / "toy-r", select(split, ("dog", "ant", "bee"), None))
    return tmp_path / "toy-r"


def test_fewer_classes_are_scored_over_these_and_over_all(
    fewer: Path, vhs, toy_checkpoint: Path, toy_shards: Path
) -> None:
    """Against NumPy on the model's own logits, for the shifted set and for the clean images of its classes."""
    import torch

    from vhs.formats.references import load
    from vhs.formats.shards import ShardSet
    from vhs.runs.cache import choose, decode

    code, _, err = vhs("evalshift", toy_checkpoint, "--shift", fewer, "-o", "t.csv")
    assert code == 0, err
    table = pl.read_csv("t.csv").sort("shift", "group", "label_set")
    found = {(r["shift"], r["group"], r["label_set"]): (r["n"], r["n_correct"]) for r in table.iter_rows(named=True)}
    model = load(str(toy_checkpoint), torch.device("cpu")).model
    inside = [CLASSES.index(name) for name in ("dog", "ant", "bee")]

    def right(folder: Path, keep: bool, among: list[int]) -> tuple[int, int]:
        data = decode(ShardSet.open(folder), choose(ShardSet.open(folder)))
        labels = np.array([CLASSES.index(data.manifest.classes[label]) for label in data.labels_N.tolist()])
        with torch.inference_mode():
            logits = model.net(model.preprocess(data.images_NCHW)).numpy()
        kept = np.isin(labels, inside) if keep else np.ones(len(labels), bool)
        answers = np.array(among)[logits[:, among].argmax(1)]
        return int(kept.sum()), int((answers == labels)[kept].sum())

    everything, val = list(range(5)), toy_shards / "val"
    assert found == {
        ("clean", "all", "all"): right(val, False, everything),
        ("clean", "classes=toy-r", "all"): right(val, True, everything),
        ("clean", "classes=toy-r", "toy-r"): right(val, True, inside),
        ("toy-r", "all", "all"): right(fewer, False, everything),
        ("toy-r", "all", "toy-r"): right(fewer, False, inside),
    }


def test_ablation_and_figures_with_fewer_classes(fewer: Path, vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("ablate", toy_checkpoint, "--shift", fewer, "-o", "heads.csv")
    assert code == 0, err
    sets = pl.read_csv("heads.csv").select("shift", "label_set").unique().sort("shift").rows()
    assert sets == [("clean", "all"), ("toy-r", "toy-r")]
    assert vhs("plot", "heads.csv", "-o", "heads.png")[0] == 0
    assert vhs("evalshift", toy_checkpoint, "--shift", fewer, "--by", "label", "-o", "t.csv")[0] == 0
    assert vhs("plot", "t.csv", "-o", "t.png")[0] == 0
    code, out, err = vhs("compare", "heads.csv")
    assert code == 0 and "toy-r: was measured on other samples than clean: correlations only" in err
    assert len(pl.read_csv(out.encode())) == 4, "two scales, over all heads and within layers"
    code, _, err = vhs("compare", "heads.csv", "--contrast", "-")
    assert code == 3 and "no shifted condition on the samples of clean" in err


def test_classes_the_model_lacks_are_named(tmp_path: Path, vhs, toy_checkpoint: Path) -> None:
    images, labels = toy_images(20, 3)
    split = from_arrays(images, labels, name="odd", split="val", classes=(*CLASSES[:4], "yak"), prefix="o")
    write_set(tmp_path / "odd", split)
    code, _, err = vhs("evalshift", toy_checkpoint, "--shift", tmp_path / "odd")
    assert code == 4 and "of which yak are not the model's" in err


def test_rejpeg_stores_made_images_and_a_second_clean(vhs, toy_checkpoint: Path) -> None:
    import torch

    from vhs.batch import Batch
    from vhs.runs.conditions import parse
    from vhs.shifts.corruption import corrupt
    from vhs.shifts.digital import jpeg_compression

    images = torch.randint(0, 256, (3, 1, 42, 28), dtype=torch.uint8)
    keys = torch.arange(3)
    batch = Batch(images, keys, keys, keys, torch.empty(0, 3, dtype=torch.int64), 3)
    clean, clean_c, made = parse(["contrast:2"], rejpeg=True)
    assert clean.apply(batch, 0).images_BCHW is images and clean_c.name == "clean_c"
    assert torch.equal(clean_c.apply(batch, 0).images_BCHW, jpeg_compression(images, 85))
    want = jpeg_compression(corrupt(images, keys, "contrast", 2, 0), 85)
    assert torch.equal(made.apply(batch, 0).images_BCHW, want)
    code, out, err = vhs("evalshift", toy_checkpoint, "--shift", "contrast:2", "--rejpeg")
    assert code == 0, err
    table = pl.read_csv(out.encode())
    assert table["shift"].to_list() == ["clean", "clean_c", "imagenet-c"]
    assert ["JPEG 85" in text for text in table["preprocess"]] == [False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_any_number_of_ranks_gives_the_same_bytes(grouped: Path, vhs, toy_checkpoint: Path, ranks: int) -> None:
    for command in ("evalshift", "ablate"):
        options = [command, toy_checkpoint, "--data", grouped, "--shift", "gaussian_noise:3", "--tile", 16,
                   "--threads", 1]  # fmt: skip
        code, alone, err = vhs(*options)
        assert code == 0, err
        together = torchrun(ranks, *options)
        assert together.returncode == 0, together.stderr
        assert together.stdout == alone
