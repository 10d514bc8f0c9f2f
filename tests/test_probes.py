"""Probes: against plain least squares, on planted heads, at a correlation of .9, and their levels by simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.networks import MODELS, batch_for
from vhs.counts import Counts
from vhs.errors import VhsError
from vhs.grid import Head
from vhs.measures import probing
from vhs.measures.head_features import features
from vhs.measures.probe_tally import CHANCE, FIELDS, Baseline, Entry, Probing, tallied
from vhs.measures.probing import Attribute, Halves
from vhs.measures.scoring import Scope
from vhs.roles.exclusivity import exclusive
from vhs.seeds import FOLDS
from vhs.viewing.probes import rows


def halves_of(count: int, rng: np.random.Generator) -> Halves:
    return Halves.of(rng.integers(0, FOLDS, count), FOLDS)


def correlated(count: int, values: int, odds: float, rng: np.random.Generator) -> tuple[Attribute, Attribute]:
    """A robust attribute, and one that agrees with it with these odds."""
    robust = rng.integers(0, values, count)
    other = (robust + rng.integers(1, values, count)) % values
    spurious = np.where(rng.random(count) < odds, robust, other)
    return Attribute("robust", robust, values), Attribute("spurious", spurious, values)


def noisy(attribute: Attribute, width: int, rng: np.random.Generator, noise: float = 0.4) -> np.ndarray:
    """[N, W] features from which an attribute can be read."""
    codes = rng.normal(size=(attribute.count, width))
    return codes[attribute.values_N] + noise * rng.normal(size=(len(attribute.values_N), width))


def both_halves(attribute: Attribute, others: list[Attribute], halves: Halves) -> tuple[np.ndarray, np.ndarray]:
    fit, asked = (probing.balanced(attribute, others, half) for half in (halves.fit_N, ~halves.fit_N))
    return fit + asked, asked


def pooled(draws_DN: np.ndarray, weights: np.ndarray, heads: int = 4) -> Baseline:
    """Draws as the baseline of every head."""
    shares = draws_DN @ weights / weights.sum()
    each = np.broadcast_to(draws_DN.mean(0), (heads, draws_DN.shape[1]))
    return Baseline(each, np.full(heads, shares.var(ddof=1)), np.full(heads, float(len(draws_DN))))


def test_weights_make_attributes_independent() -> None:
    rng = np.random.default_rng(0)
    robust, spurious = correlated(1500, 3, 0.9, rng)
    third = Attribute("third", (spurious.values_N + (rng.random(1500) < 0.3)) % 3, 3)
    weights = probing.balanced(robust, [spurious], np.ones(1500, bool))
    cells = np.zeros((3, 3))
    np.add.at(cells, (robust.values_N, spurious.values_N), weights)
    assert np.allclose(cells, np.full((3, 1), 1 / 3) * cells.sum(0)) and np.isclose(weights.sum(), 1)
    both = probing.balanced(robust, [spurious, third], np.ones(1500, bool))
    assert max(probing.entangled(robust, other, both) for other in (spurious, third)) < 1e-4
    assert probing.entangled(robust, spurious, np.ones(1500)) > 0.8
    alone = probing.balanced(robust, [], np.ones(1500, bool))
    assert np.allclose(np.bincount(robust.values_N, alone), 1 / 3)


def test_ridge_equals_least_squares_on_stretched_rows() -> None:
    """The same by NumPy: rows times the root of their weight, the penalty as further rows."""
    rng = np.random.default_rng(1)
    x, labels, weights = rng.normal(size=(60, 5)), rng.integers(0, 3, 60), rng.random(60)
    weights /= weights.sum()
    x -= weights @ x
    one_hot = np.eye(3)[labels]
    found, base = probing._solve(
        torch.from_numpy(x)[None], torch.from_numpy(one_hot), torch.from_numpy(weights), torch.tensor([0.3]).double()
    )
    root = np.sqrt(weights)[:, None]
    want = np.linalg.lstsq(
        np.concatenate([root * x, np.sqrt(0.3) * np.eye(5)]),
        np.concatenate([root * (one_hot - weights @ one_hot), np.zeros((5, 3))]), rcond=None,
    )[0]  # fmt: skip
    assert np.allclose(found[0].numpy(), want, atol=1e-9) and np.allclose(base.numpy(), weights @ one_hot)


def test_a_probe_is_not_fooled_at_a_correlation_of_nine_tenths() -> None:
    """A head that holds the shortcut only: an ordinary probe of the robust attribute reads it, ours does not."""
    rng = np.random.default_rng(2)
    robust, spurious = correlated(4000, 2, 0.9, rng)
    halves = halves_of(4000, rng)
    heads = torch.from_numpy(np.stack([noisy(spurious, 6, rng), noisy(robust, 6, rng)])).float()
    weights, asked = both_halves(robust, [spurious], halves)
    even = np.where(halves.fit_N, 1 / halves.fit_N.sum(), 1 / (~halves.fit_N).sum())
    fooled = probing.answers(heads, robust, even, halves) @ np.where(halves.fit_N, 0, even)
    ours = probing.answers(heads, robust, weights, halves) @ asked
    assert fooled[0] > 0.85 and abs(ours[0] - 0.5) < 1.5 / np.sqrt(probing.effective(asked)) and ours[1] > 0.95
    both, asked = both_halves(spurious, [robust], halves)
    assert (probing.answers(heads, spurious, both, halves) @ asked)[0] > 0.95


def test_exclusivity_finds_which_attribute_planted_heads_hold() -> None:
    rng = np.random.default_rng(3)
    robust, spurious = correlated(3000, 3, 0.9, rng)
    halves = halves_of(3000, rng)
    noise = [rng.normal(size=(3000, 6)) for _ in range(9)]
    both = noisy(robust, 6, rng) + noisy(spurious, 6, rng)
    own = torch.from_numpy(np.stack([noisy(robust, 6, rng), noisy(spurious, 6, rng), both, noise[0]])).float()
    control, untrained = (torch.from_numpy(np.stack(noise[start : start + 4])).float() for start in (1, 5))
    table = []
    for attribute, other in ((robust, spurious), (spurious, robust)):
        weights, asked = both_halves(attribute, [other], halves)
        right = {name: probing.answers(part, attribute, weights, halves)
                 for name, part in {"own": own, "control": control, "untrained": untrained}.items()}  # fmt: skip
        drawn = {name: pooled(right[name], asked) for name in ("control", "untrained")}
        made = tallied(right["own"], drawn | {"shuffled": drawn["control"]}, asked, 6)
        sums = Counts(np.array(list(made))[:, None], FIELDS)
        table += rows([Entry(Head("attn", 0, h), attribute.name, "output", "class", 3) for h in range(4)], sums)
    keys = {"model": "m", "model_id": "i", "step": 1, "seed": 0, "data": "d", "shift": "clean", "category": None,
            "corruption": None, "severity": 0}  # fmt: skip
    found = exclusive(pl.DataFrame([keys | row for row in table]))
    assert found.sort("head")["kind"].to_list() == ["robust", "spurious", "both", "neither"]
    values = found.sort("head")["exclusivity"].to_list()
    assert values[0] > 0.8 and values[1] < -0.8 and abs(values[2]) < 0.2
    with pytest.raises(VhsError, match="no attribute place, it has robust or spurious"):
        exclusive(pl.DataFrame([keys | row for row in table]), ("place", "robust"))


@pytest.mark.parametrize("name", [*MODELS])
def test_features_are_the_heads_outputs_at_the_token_that_is_named(name: str) -> None:
    """Against outputs taken by the test's own hook; what each head gives the logits sums, with the rest, to the logits."""
    model = MODELS[name]()
    images = batch_for(model, 3).images_BCHW
    kept: list[torch.Tensor] = []
    handles = [place.projection.register_forward_pre_hook(lambda _m, args: kept.append(args[0].clone()))
               for place in model.engine.seams]  # fmt: skip
    with torch.inference_mode():
        model.net(model.preprocess(images))
    for handle in handles:
        handle.remove()
    found = features(model, images)
    for place, received, heads, token, before in zip(
        model.engine.seams, kept, found.heads, found.tokens, found.received, strict=True
    ):
        values = place.by_head(received).reshape(3, -1, *heads.shape[1:])
        classed = getattr(model.net, "cls_token", None) is not None
        assert token == ("class" if classed else "patches")
        special = getattr(model.net, "num_prefix_tokens", 0) if not classed else 0
        want = values[:, 0] if classed else values[:, special:].mean(1)
        assert torch.allclose(heads, want, atol=1e-5) and before.shape[0] == 3 and before.dim() == 2
    assert (found.direct_BGC is not None) == name.startswith("fast")


def test_a_probe_on_a_network_finds_the_half_that_a_head_looks_at(tmp_path: Path) -> None:
    """Two heads of which one attends to the upper patches and one to the lower; the halves hold other attributes."""
    from vhs.models.building import build
    from vhs.models.model import Model, Preprocess
    from vhs.models.spec import ViTSpec

    sizes = {"depth": 1, "dim": 16, "heads": 2, "head_width": 8, "hidden": 20, "patch": 8, "height": 32, "width": 16,
             "channels": 1, "classes": 3}  # fmt: skip
    torch.manual_seed(0)
    net = build(ViTSpec(**sizes)).eval()
    with torch.no_grad():
        half = torch.tensor([1.0] * 4 + [-1.0] * 4)
        net.pos_embed.zero_()
        net.pos_embed[0, 1:, 0] = 6 * half
        qkv = net.blocks[0].attn.qkv
        qkv.weight[:32] = 0
        qkv.bias[:32] = 0
        qkv.weight[[16, 24], 0] = 5.0  # keys: upper or lower
        qkv.bias[[0, 8]] = torch.tensor([20.0, -20.0])  # queries of both heads: which of the two they want
    stats = Preprocess(height=32, width=16, channels=1, mean=(0.5,), std=(0.25,))
    model = Model(net=net, preprocess=stats, classes=("a", "b", "c"), name="planted", weights_id="",
                  spec=ViTSpec(**sizes))  # fmt: skip
    rng = np.random.default_rng(0)
    count = 600
    upper, lower = correlated(count, 3, 0.9, rng)
    images = rng.integers(0, 60, (count, 1, 32, 16))
    for index in range(count):
        images[index, 0, :16, 4 * upper.values_N[index] : 4 * upper.values_N[index] + 4] += 150
        images[index, 0, 16:, 4 * lower.values_N[index] : 4 * lower.values_N[index] + 4] += 150
    names = tuple(f"{half}={value}" for half in ("upper", "lower") for value in "abc")
    groups = torch.from_numpy(np.stack([upper.values_N, lower.values_N + 3]))
    batch = replace(
        batch_for(model, count), images_BCHW=torch.from_numpy(images).to(torch.uint8), groups_AB=groups,
        labels_B=torch.from_numpy(upper.values_N),
    )  # fmt: skip
    measure = Probing(model, replace(Scope.whole(3, torch.device("cpu")), groups=names), 0)
    measure.add(batch)
    sums = measure.results()["probes"]
    table = pl.DataFrame(rows(measure.entries, sums))
    out = table.filter(pl.col("source") == "output")
    score = {(row["head"], row["attribute"]): row["accuracy"] for row in out.iter_rows(named=True)}
    assert score[0, "upper"] > 0.6 and score[1, "lower"] > 0.6, score
    assert score[0, "lower"] < 0.45 and score[1, "upper"] < 0.45, score
    assert "label" not in table["attribute"], "the label says what `upper` says"


@pytest.mark.parametrize(("images", "odds"), [(800, 0.7), (300, 0.95), (160, 0.95)])
def test_coverage_and_level_where_few_images_carry_the_weight(images: int, odds: float) -> None:
    """Intervals of a known accuracy, and one-sided p of equal accuracies, at correlations that leave few heavy images."""
    from vhs.measures.intervals import wilson

    rng = np.random.default_rng(5)
    covered, rejected, total = 0, 0, 250
    for _ in range(total):
        robust, spurious = correlated(images, 2, odds, rng)
        asked = both_halves(robust, [spurious], halves_of(images, rng))[1]
        known = rng.random((8, images)) < 0.8
        count = probing.effective(asked)
        lo, hi = wilson(known @ asked * count, count)
        covered += int(((lo <= 0.8) & (hi >= 0.8)).sum())
        even = pooled(np.full((2, images), 0.8), asked, 8)
        sums = Counts(np.array(list(tallied(known, dict.fromkeys(CHANCE, even), asked, 6)))[:, None], FIELDS)
        found = rows([Entry(Head("attn", 0, h), "robust", "output", "class", 2) for h in range(8)], sums)
        rejected += sum(row["p"] <= 0.05 for row in found)
    assert covered / total / 8 > 0.93 and rejected / total / 8 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / total)


def test_heads_that_are_draws_of_a_baseline_are_not_beyond_it() -> None:
    """Heads that are themselves random directions of what the block received: with many images the draw decides, and is
    in the error."""
    rng, tables = np.random.default_rng(6), 0
    for _ in range(20):
        robust = Attribute("robust", rng.integers(0, 3, 3000), 3)
        halves = halves_of(3000, rng)
        received = noisy(robust, 24, rng, 4.0)
        weights, asked = both_halves(robust, [], halves)

        def draws(count: int, received=received) -> torch.Tensor:
            return torch.from_numpy(np.stack([received @ rng.normal(size=(24, 6)) for _ in range(count)])).float()

        own, drawn = (probing.answers(draws(count), robust, weights, halves) for count in (8, 12))
        baseline = pooled(drawn, asked, 8)
        sums = Counts(np.array(list(tallied(own, dict.fromkeys(CHANCE, baseline), asked, 6)))[:, None], FIELDS)
        found = rows([Entry(Head("attn", 0, h), "robust", "output", "class", 3) for h in range(8)], sums)
        tables += any(row["q"] < 0.05 for row in found)
    assert tables <= 3, tables


@pytest.fixture
def dominoes(tmp_path: Path, vhs) -> Path:
    """Grey digits above grey garments, made of bars: train at .9, and the sets that come with it."""
    from tests.conftest import toy_images
    from vhs.formats.images import encode_png

    for name, seed in (("top", 1), ("bottom", 2)):
        for split, count in (("train", 300), ("val", 700)):
            images, labels = toy_images(count, seed + 10 * (split == "val"))
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                place = tmp_path / name / split / "abcde"[label] / f"{index:04d}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(encode_png(image[..., None]))
    out = tmp_path / "dom"
    code, _, err = vhs("shard", "dominoes", out, "--top", tmp_path / "top", "--bottom", tmp_path / "bottom",
                       "--correlation", 0.9)  # fmt: skip
    assert code == 0, err
    return out


def test_probes_from_the_command_line_and_python(dominoes: Path, vhs) -> None:
    import vhs as library

    assert vhs("train", dominoes, "--depth", 2, "--dim", 16, "--heads", 2, "--patch", 14, "--epochs", 2, "-o",
               "d.safetensors")[0] == 0  # fmt: skip
    options = ("specialize", "d.safetensors", "--data", dominoes / "randomised")
    code, _, err = vhs(*options, "--probe", "p.csv")
    assert code == 0, err
    table = pl.read_csv("p.csv")
    assert table.height == 4 * 2 * 2 and set(table["attribute"]) == {"robust", "spurious"}
    assert set(table["token"]) == {"class", "logits"} and (table["n"] > 100).all()
    code, piped, err = vhs(*options, "--probe", "-")
    assert code == 0 and piped == Path("p.csv").read_text(), err
    frame = library.probe("d.safetensors", dominoes / "randomised", quiet=True)
    assert frame.equals(table.drop("table_rows").cast(dict(frame.schema)))
    code, _, err = vhs("compare", "p.csv", "--summary", "exclusivity", "-o", "e.csv")
    assert code == 0, err
    for name in ("p.csv", "e.csv"):
        assert vhs("plot", name, "-o", "x.png")[0] == 0
        code, out, err = vhs("info", "--say", name)
        assert code == 0 and "4 heads" in out, err
    code, _, err = vhs(*options[:2], "--data", dominoes / "aligned", "--probe", "a.csv")
    assert code == 4 and "robust and spurious cannot be told apart, they go together" in err
    code, _, err = vhs(*options, "--probe", "p.csv", "--regions")
    assert code == 2 and "--regions: is of the table, which --probe stands for" in err
    assert vhs("ablate", "d.safetensors", "--data", dominoes / "aligned", "--max-samples", 40, "-o", "a.csv")[0] == 0
    code, _, err = vhs("compare", "p.csv", "a.csv", "--summary", "exclusivity")
    assert code == 4 and "no head of these models under the same condition of the same data" in err
    both = ("--data", dominoes / "aligned", "--shift", dominoes / "randomised")
    assert vhs("ablate", "d.safetensors", *both, "--max-samples", 60, "-o", "a.csv")[0] == 0
    code, _, err = vhs("specialize", "d.safetensors", *both, "--probe", "q.csv")
    assert code == 0 and "clean: robust and spurious cannot be told apart" in err
    assert vhs("compare", "q.csv", "a.csv", "--summary", "exclusivity", "-o", "e.csv")[0] == 0
    found = pl.read_csv("e.csv").filter(pl.col("source") == "direct").sort("layer", "head")
    drops = pl.read_csv("a.csv").filter((pl.col("unit") == "head") & (pl.col("shift") != "clean")).sort("layer", "head")
    assert np.allclose(found["effect"], drops["drop"]) and found["effect_clean"].null_count() == 0
    assert vhs("plot", "e.csv", "-o", "x.png")[0] == 0
    code, _, err = vhs("compare", "p.csv", "--attributes", "a,b")
    assert code == 2 and "belongs to --summary exclusivity" in err
