"""Targets instead of classes: shards, squared errors, ablations, against NumPy on the model's own answers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from scipy import stats

from tests.naive import whole_passes
from tests.networks import network
from vhs.formats.shards import ShardSet
from vhs.models.engine import engine_of

COUNT = 60


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """A folder with metadata.csv: 40 px images, two targets, a training and a validation split."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "numbers"
    folder.mkdir()
    rows = []
    for index in range(COUNT):
        image = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / f"n{index:02d}.png")
        rows.append((f"n{index:02d}.png", "train" if index % 3 else "val", image.mean() * 3 + 100, index * 0.5 - 7))
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "split", "brightness", "order"), *rows])
    return folder


@pytest.fixture
def shards(numbers: Path, vhs) -> Path:
    code, _, err = vhs("shard", numbers, "n", "--columns", "path=path,target=brightness,target=order,split=split")
    assert code == 0, err
    return Path("n").resolve()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    net = network("test_vit", {})
    net.reset_classifier(2)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    return tmp_path / "w.pth"


def by_hand(shards: Path, weights: Path) -> tuple[np.ndarray, np.ndarray]:
    """Answers [U, N, T] of the intact model and without each head, and standardised targets [N, T]."""
    import timm

    from vhs.models.model import Preprocess
    from vhs.runs.cache import choose, decode

    net = timm.create_model("test_vit", num_classes=2).eval()
    net.load_state_dict(torch.load(weights))
    data = ShardSet.open(shards / "val")
    decoded = decode(data, choose(data))
    config = timm.data.resolve_data_config({}, model=net)
    side = config["input_size"][1]
    preprocess = Preprocess(height=side, width=side, channels=3, mean=config["mean"], std=config["std"])
    with torch.inference_mode():
        answers = whole_passes(net, engine_of(net, (3, side, side)), preprocess(decoded.images_NCHW)).numpy()
    rows = list(csv.DictReader((shards.parent / "numbers" / "metadata.csv").open()))
    train = np.array([[float(r["brightness"]), float(r["order"])] for r in rows if r["split"] == "train"])
    targets = {r["path"][:3]: (float(r["brightness"]), float(r["order"])) for r in rows}
    own = np.array([targets[name] for name in decoded.ids])
    return answers.astype(float), (own - train.mean(0)) / train.std(0)


def test_targets_are_stored_with_the_training_splits_statistics(shards: Path) -> None:
    data = ShardSet.open(shards / "val")
    assert data.manifest.task == "regression" and data.manifest.targets == ("brightness", "order")
    assert data.manifest.classes == () and all(sample.label == -1 for sample in data.samples())
    orders = [index * 0.5 - 7 for index in range(COUNT) if index % 3]
    assert np.allclose(data.manifest.extra["target_stats"]["order"], (np.mean(orders), np.std(orders)))


def test_squared_errors_and_r2(shards: Path, weights: Path, vhs, tmp_path: Path) -> None:
    reference = f"timm:test_vit@{weights}"
    code, _, err = vhs("evalshift", reference, "--data", shards / "val", "--shift", "contrast:5", "-o", "e.csv")
    assert code == 0, err
    table = pl.read_csv("e.csv")
    answers, targets = by_hand(shards, weights)
    errors = (answers[0] - targets) ** 2
    clean = table.filter(pl.col("shift") == "clean")
    assert clean["target"].to_list() == ["brightness", "order"] and table.height == 4
    assert np.allclose(clean["mse"], errors.mean(0), rtol=1e-4)
    assert np.allclose(clean["mae"], np.abs(answers[0] - targets).mean(0), rtol=1e-4)
    assert np.allclose(clean["r2"], 1 - errors.mean(0) / targets.var(0), rtol=1e-4)


def test_ablation_equals_whole_passes(shards: Path, weights: Path, vhs) -> None:
    reference = f"timm:test_vit@{weights}"
    code, _, err = vhs("ablate", reference, "--data", shards / "val", "-o", "a.csv")
    assert code == 0, err
    table = pl.read_csv("a.csv")
    answers, targets = by_hand(shards, weights)
    errors_by_image = (answers - targets) ** 2
    errors = errors_by_image.mean(1)
    folds = pl.read_parquet("a.folds.parquet")
    assert folds.height == table.height * 20
    summed = folds.group_by("target", "unit", "layer", "head", maintain_order=True).agg(pl.col("n", "dse_sum").sum())
    assert np.allclose(summed["dse_sum"] / 2**24 / summed["n"], table["dmse"], atol=1e-12)
    for index, name in enumerate(("brightness", "order")):
        rows = table.filter(pl.col("target") == name)
        assert rows["unit"].to_list() == ["none"] + ["head"] * (len(answers) - 1)
        assert np.allclose(rows["mse_intact"], errors[0, index], rtol=1e-4)
        assert np.allclose(rows["mse"], errors[:, index][[0, *range(1, len(answers))]], rtol=1e-4)
        assert np.allclose(rows["dmse_rel"], rows["dmse"] / rows["mse_intact"], atol=1e-9)
        change = (errors_by_image[1:, :, index] - errors_by_image[0, :, index]).T
        paired = stats.norm.sf(np.abs(change.mean(0)) / stats.sem(change)) * 2
        assert np.allclose(rows["p"][1:], paired, atol=1e-3)
        assert rows["dmse"][0] == 0 and (rows["dmse_rel_lo"] <= rows["dmse_rel"]).all()
    assert vhs("plot", "a.csv", "-o", "a.png")[0] == 0
    code, out, _ = vhs("ablate", reference, "--data", shards / "val", "--fill", "mean", "--fill-data", shards / "train")
    assert code == 0 and "numbers/train clean" in out


def test_contrasts_of_targets_are_differences_of_errors(shards: Path, weights: Path, vhs) -> None:
    """Head by head and target by target; the interval is the fold jackknife of the difference, by the test's own."""
    reference = f"timm:test_vit@{weights}"
    options = ("ablate", reference, "--data", shards / "val", "--shift", "brightness:5")
    assert vhs(*options, "-o", "a.csv")[0] == 0
    code, _, err = vhs("compare", "a.csv", "--contrast", "c.csv", "-o", "r.csv")
    assert code == 0, err
    table, folds, contrast = pl.read_csv("a.csv"), pl.read_parquet("a.folds.parquet"), pl.read_csv("c.csv")
    heads = table.filter(pl.col("unit") == "head")
    for target in ("brightness", "order"):
        clean, shifted = (
            heads.filter((pl.col("target") == target) & (pl.col("severity") == severity)) for severity in (0, 5)
        )
        for scale, column in (("error", "dmse"), ("relative_error", "dmse_rel")):
            rows = contrast.filter((pl.col("target") == target) & (pl.col("scale") == scale))
            assert np.allclose(rows["diff"], shifted[column].to_numpy() - clean[column].to_numpy(), atol=1e-9)
            assert (rows["lo"] <= rows["diff"]).all() and (rows["diff"] <= rows["hi"]).all()
    of_head = (pl.col("target") == "order") & (pl.col("layer") == 0) & (pl.col("head") == 1)
    change, n = (
        np.stack([folds.filter(of_head & (pl.col("severity") == s)).sort("fold")[column] for s in (0, 5)])
        for column in ("dse_sum", "n")
    )
    left_out = (change.sum(1)[:, None] - change) / 2**24 / (n.sum(1)[:, None] - n)
    diff = left_out[1] - left_out[0]
    error = np.sqrt(19 / 20 * ((diff - diff.mean()) ** 2).sum())
    row = contrast.filter(
        (pl.col("scale") == "error") & (pl.col("target") == "order") & (pl.col("layer") == 0) & (pl.col("head") == 1)
    )
    assert np.isclose(row["hi"][0] - row["diff"][0], stats.t.ppf(0.975, 19) * error, rtol=1e-9)
    for name in ("c.csv", "r.csv"):
        assert vhs("plot", name, "-o", "x.png")[0] == 0
    code, out, _ = vhs("info", "--say", "c.csv")
    assert code == 0 and "two scales" in out
    code, _, err = vhs("compare", "a.csv", "--scale", "accuracy")
    assert code == 2 and "--scale accuracy: these tables have error or relative_error." in err
    code, _, err = vhs("compare", "a.csv", "--summary", "redundancy")
    assert code == 2 and "counts answers" in err


def test_what_does_not_go_with_targets(shards: Path, weights: Path, numbers: Path, vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("ablate", f"timm:test_vit@{weights}", "--data", shards / "val", "--by", "label")
    assert code == 2
    code, _, err = vhs("ablate", toy_checkpoint, "--data", shards / "val")
    assert code == 4 and "has 5 outputs" in err and "2 targets" in err
    text = (numbers / "metadata.csv").read_text()
    (numbers / "metadata.csv").write_text(text.replace("-7", "nan", 1))
    code, _, err = vhs("shard", numbers, "again", "--columns", "path=path,target=order")
    assert code == 3 and "a target is a finite number" in err


def test_relative_changes_cover() -> None:
    """The fold jackknife of a ratio of means: 2,000 runs in which a head's removal adds a tenth."""
    from vhs.measures.contrast import jackknife_test

    rng, folds, each, hits = np.random.default_rng(0), 20, 25, []
    for _ in range(20):
        intact = rng.exponential(1.0, (100, folds, each))
        change = 0.1 * intact + rng.normal(0, 0.3, intact.shape)
        se, dse = intact.sum(-1), change.sum(-1)
        ratio = dse.sum(1) / se.sum(1)
        without = ((dse.sum(1, keepdims=True) - dse) / (se.sum(1, keepdims=True) - se)).T
        lo, hi, _ = jackknife_test(ratio, without)
        hits.append((lo <= 0.1) & (hi >= 0.1))
    assert np.mean(hits) >= 0.94
