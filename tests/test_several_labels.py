"""Samples with several right labels: right if any, as stored, chosen, scored and ablated."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.conftest import CLASSES, toy_images
from vhs.errors import InputError, MismatchError
from vhs.formats.manifest import Manifest
from vhs.formats.sharding import write_set
from vhs.formats.shards import ShardSet
from vhs.formats.split import Split, from_arrays, select, with_labels
from vhs.measures.scoring import loss_of, outcome
from vhs.sources.base import as_shifted

SEVERAL = [((label,), (label, (label + 1) % 5), (label, (label + 3) % 5, (label + 1) % 5)) for label in range(5)]


def labels_of(count: int) -> list[tuple[int, ...]]:
    return [SEVERAL[number % 5][number % 3] for number in range(count)]


def toy(count: int = 85) -> Split:
    images, labels = toy_images(count, 2)
    split = from_arrays(images, labels, name="toy", split="val", classes=CLASSES, prefix="val")
    return with_labels(split, labels_of(count))


@pytest.fixture
def several(tmp_path: Path) -> Path:
    write_set(tmp_path / "several", toy(), per_tar=40)
    return tmp_path / "several"


def naive(logits: np.ndarray, labels: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Row by row in float64: right if any, among the first five if any, -log of the summed probabilities."""
    found: dict[str, list] = {"right": [], "right5": [], "loss": []}
    for row, own in zip(logits.astype(np.float64), labels, strict=True):
        best = sorted(range(len(row)), key=lambda place: -row[place])
        share = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        found["right"].append(best[0] in own)
        found["right5"].append(bool(set(best[:5]) & set(own)))
        found["loss"].append(-np.log(sum(share[label] for label in own)))
    return {name: np.array(values) for name, values in found.items()}


def test_outcome_is_the_naive_one_and_that_of_one_label_for_one() -> None:
    from vhs.measures.evaluation import FIELDS, Scores

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 12)).astype(np.float32) * 3
    labels = [tuple(rng.permutation(12)[: rng.integers(1, 5)].tolist()) for _ in range(200)]
    padded = torch.tensor([[*own, *[-1] * (4 - len(own))] for own in labels])
    want = naive(logits, labels)
    found = outcome(torch.from_numpy(logits), padded)
    assert np.array_equal(found.correct.numpy(), want["right"])
    assert np.allclose(found.loss.numpy(), want["loss"], rtol=0, atol=1e-12)
    scores = Scores(1, torch.device("cpu"))
    scores.add(torch.from_numpy(logits), padded, torch.zeros(200, dtype=torch.int64))
    sums = dict(zip(FIELDS, scores.sums().values[0].tolist(), strict=True))
    assert (sums["n"], sums["n_correct"], sums["n_correct5"]) == (200, want["right"].sum(), want["right5"].sum())
    one, alone = outcome(torch.from_numpy(logits), padded[:, 0]), outcome(torch.from_numpy(logits), padded[:, :1])
    assert all(torch.equal(a, b) for a, b in zip(one, alone, strict=True))


def test_known_answers() -> None:
    logits = torch.tensor([[0.0, 0.0, -40.0, -40.0]])
    both, first, none = (outcome(logits, torch.tensor([labels])) for labels in ([0, 1], [0, 2], [2, 3]))
    assert both.loss.item() == pytest.approx(0, abs=1e-12) and both.correct.item() and not both.near_tie.item()
    assert first.loss.item() == pytest.approx(np.log(2)) and first.near_tie.item()
    assert not none.correct.item() and none.loss.item() == pytest.approx(40, abs=1e-6)


def test_the_loss_has_the_gradient_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 9, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.tensor([[0, 3, -1], [1, -1, -1], [8, 7, 6], [2, 0, -1], [4, -1, -1], [5, 3, 1]])
    assert torch.autograd.gradcheck(lambda x: loss_of(x, labels), (logits,))
    assert torch.allclose(loss_of(logits, labels), outcome(logits.detach(), labels).loss)


def test_a_set_keeps_them_and_a_set_without_keeps_its_hash(several: Path, tmp_path: Path) -> None:
    data = ShardSet.open(several)
    assert data.manifest.labels == 3 and json.loads((several / "shards.json").read_bytes())["labels"] == 3
    found = list(data.samples())
    assert [sample.labels for sample in found] == labels_of(85)
    assert [sample.label for sample in found] == [own[0] for own in labels_of(85)]
    write_set(tmp_path / "one", replace(toy(), several=()))
    stored = json.loads((tmp_path / "one" / "shards.json").read_bytes())
    assert not {"labels", "members"} & set(stored) and ShardSet.open(tmp_path / "one").manifest.labels == 1
    assert all(sample.labels == () for sample in ShardSet.open(tmp_path / "one").samples())
    older = Manifest.from_bytes((tmp_path / "one" / "shards.json").read_bytes(), tmp_path)
    assert older.to_bytes() == (tmp_path / "one" / "shards.json").read_bytes()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 5], r"\[0, 5\]; expected"),
        ([1, 0], "0 first"),
        ([0, 0], r"\[0, 0\]"),
        ("0", "whole numbers"),
        ([], r"\[\]"),
    ],
)
def test_labels_that_cannot_be_are_named(tmp_path: Path, labels: object, message: str) -> None:
    from vhs.formats.tar import tar_bytes

    write_set(tmp_path / "set", with_labels(toy(2), [(0,), (1, 2)]))
    image = bytes(next(ShardSet.open(tmp_path / "set").samples()).image)
    parts = [("a.cls", b"0"), ("a.json", json.dumps({"labels": labels}).encode()), ("a.png", image)]
    data = tar_bytes(iter([*parts, ("b.cls", b"1"), ("b.png", image)]))
    (tmp_path / "set" / "000000.tar").write_bytes(data)
    told = json.loads((tmp_path / "set" / "shards.json").read_bytes())
    told["tars"][0]["bytes"] = len(data)
    (tmp_path / "set" / "shards.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=message):
        list(ShardSet.open(tmp_path / "set").samples())


def test_manifests_that_cannot_be(several: Path) -> None:
    told = json.loads((several / "shards.json").read_bytes())
    for key, value in (("labels", 0), ("labels", True), ("labels", 6), ("members", {"ant": ["x"]}), ("members", [])):
        (several / "shards.json").write_text(json.dumps(told | {key: value}))
        with pytest.raises(InputError, match="is not a shard manifest"):
            ShardSet.open(several)


def test_classes_and_per_class_choose_by_the_labels_that_are_left() -> None:
    split = toy(30)
    chosen = select(split, ["eel", "bee"], None)
    place = {4: 0, 1: 1}
    want = [tuple(place[label] for label in own if label in place) for own in labels_of(30)]
    assert [own for own in want if own] == (list(chosen.several) or [(label,) for label in chosen.labels])
    few, more = select(split, None, 1), select(split, None, 3)
    assert set(few.ids) < set(more.ids) and sorted(few.labels) == [0, 1, 2, 3, 4]


def test_a_base_compares_all_labels(several: Path) -> None:
    made = as_shifted(toy(), several)
    assert list(made.several) == labels_of(85)
    other = with_labels(toy(), [own if place != 7 else (own[0], 4) for place, own in enumerate(labels_of(85))])
    with pytest.raises(MismatchError, match="val-00007 has label 2, 4, not 2, 3 as in"):
        as_shifted(other, several)


def logits_of(checkpoint: Path, folder: Path) -> np.ndarray:
    from vhs.formats import references
    from vhs.runs.cache import choose, decode

    data = ShardSet.open(folder)
    images = decode(data, choose(data)).images_NCHW
    model = references.load(str(checkpoint), torch.device("cpu")).model
    with torch.inference_mode():
        return model.net(model.preprocess(images)).numpy()


def test_evalshift_scores_right_if_any(several: Path, vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("evalshift", toy_checkpoint, "--data", several, "--by", "label", "-o", "t.csv")
    assert code == 0, err
    want = naive(logits_of(toy_checkpoint, several), labels_of(85))
    table = pl.read_csv("t.csv")
    row = table.row(0, named=True)
    assert row["n_correct"] == want["right"].sum() and row["n_correct5"] == 85
    assert row["loss"] == pytest.approx(want["loss"].mean(), abs=1e-5)
    firsts = [CLASSES[own[0]] for own in labels_of(85)]
    groups = table.filter(pl.col("group") != "all")
    assert dict(groups.select("group", "n").rows()) == {f"label={name}": firsts.count(name) for name in CLASSES}


@pytest.mark.parametrize("method", ["exact", "taylor", "direct"])
def test_ablations_are_scored_right_if_any(several: Path, vhs, toy_checkpoint: Path, method: str) -> None:
    """Exact: the naive loop with a hook; the estimates: what is scored over all classes as labels is no loss at all."""
    from tests.naive import ablated_logits
    from vhs.formats import references
    from vhs.runs.cache import choose, decode

    code, _, err = vhs("ablate", toy_checkpoint, "--data", several, "--method", method, "-o", "t.csv")
    assert code == 0, err
    table = pl.read_csv("t.csv")
    if method != "exact":
        everything = with_labels(toy(), [tuple((label + k) % 5 for k in range(5)) for label in range(85)])
        write_set(Path("everything"), everything)
        assert vhs("ablate", toy_checkpoint, "--data", "everything", "--method", method, "-o", "e.csv")[0] == 0
        assert table["dloss"].abs().max() > 1e-4 and pl.read_csv("e.csv")["dloss"].abs().max() < 1e-6
        return
    data = ShardSet.open(several)
    model = references.load(str(toy_checkpoint), torch.device("cpu")).model
    pixels = model.preprocess(decode(data, choose(data)).images_NCHW)
    without = [naive(logits, labels_of(85)) for logits in ablated_logits(model.net, pixels).numpy()]
    rows = table.filter(pl.col("unit") == "head")
    assert rows["n_correct"].to_list() == [found["right"].sum() for found in without]
    intact = naive(logits_of(toy_checkpoint, several), labels_of(85))
    assert np.allclose(rows["dloss"], [(found["loss"] - intact["loss"]).mean() for found in without], atol=1e-5)
    lost = [(intact["right"] & ~found["right"]).sum() for found in without]
    assert rows["n_lost"].to_list() == lost


def test_max_samples_prune_specialize_and_tiles_agree(several: Path, vhs, toy_checkpoint: Path) -> None:
    whole = []
    for tile in (16, 48):
        name = f"t{tile}.csv"
        code, _, err = vhs(
            "ablate", toy_checkpoint, "--data", several, "--max-samples", 40, "--tile", tile, "-o", name, "--shift",
            "contrast:3", "--per-sample", f"o{tile}.parquet",
        )  # fmt: skip
        assert code == 0, err
        whole.append(pl.read_csv(name))
    assert (
        whole[0]
        .drop("dloss", "dloss_lo", "dloss_hi", strict=False)
        .equals(whole[1].drop("dloss", "dloss_lo", "dloss_hi", strict=False))
    )
    code, _, err = vhs("prune", toy_checkpoint, "--data", several, "--shift", "contrast:3")
    assert code == 0, err
    code, _, err = vhs("specialize", toy_checkpoint, "--data", several, "--maps", "m.safetensors", "-o", "s.csv")
    assert code == 0, err


def test_training_on_them_is_refused(several: Path, vhs, toy_shards: Path) -> None:
    code, _, err = vhs("train", toy_shards / "train", "--val", several, "-o", "x.safetensors")
    assert code == 4 and "have up to 3 right labels; training needs one" in err and err.count("\n") == 1
    assert not Path("x.safetensors").exists()


def test_info_tells_them(several: Path, vhs) -> None:
    assert "up to 3 a sample are right" in vhs("info", several)[1]


@pytest.mark.parametrize("grouped", [False, True])
def test_direct_estimates_are_of_the_same_scores(grouped: bool) -> None:
    """Row by row in float64 from what each head gives the logits; of superclasses, too."""
    from tests.networks import MODELS, batch_for
    from vhs.counts import from_fixed
    from vhs.measures.direct import DirectEstimate
    from vhs.measures.scoring import Scope, View
    from vhs.measures.views import padded

    model = next(made for made in (make() for make in MODELS.values()) if made.plain is not None)
    groups = [[0, 3, 5], [1], [2, 4, 6]] if grouped else [[label] for label in range(len(model.classes))]
    several = [(0, 2), (1,), (2, 1, 0), (2,), (0, 1)]
    places = torch.arange(len(groups))
    view = View("all", "s", places, members_SE=padded(groups)) if grouped else View("all", "all", places)
    batch = replace(batch_for(model, 5), labels_BL=padded(several))
    measure = DirectEstimate(model, Scope((view,)))
    measure.add(batch)
    counts = measure.results()["units"]
    with torch.inference_mode():
        logits, given = (part.double().numpy() for part in measure._contributions(batch))

    def scores(rows: np.ndarray) -> np.ndarray:
        return np.stack([np.log(np.exp(rows[:, members]).mean(1)) for members in groups], 1)

    def of_groups(rows: np.ndarray) -> np.ndarray:
        return np.stack([rows[:, members].mean(1) for members in groups], 1)

    before = naive(scores(logits), several)["loss"]
    for unit, part in enumerate(given):
        change = naive(scores(logits - part), several)["loss"] - before
        assert from_fixed(counts.total("dloss"))[unit] == pytest.approx(change.sum(), abs=2e-5)
        means = of_groups(part)
        told = [np.mean([row[label] for label in own]) - row.mean() for row, own in zip(means, several, strict=True)]
        assert from_fixed(counts.total("score"))[unit] == pytest.approx(sum(told), abs=2e-5)
    assert abs(from_fixed(counts.total("score"))).max() > 1e-3


def test_first_order_estimates_have_the_gradient_of_superclasses() -> None:
    from vhs.measures.scoring import View
    from vhs.measures.views import padded

    view = View("all", "s", torch.arange(3), members_SE=padded([[0, 3, 5], [1], [2, 4, 6]]))
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 7, dtype=torch.float64, generator=generator, requires_grad=True)
    labels = torch.tensor([[0, 2], [1, -1], [2, -1], [2, 1]])
    assert torch.autograd.gradcheck(lambda x: loss_of(view.read(x), labels), (logits,))
