"""Routing and fixed parts: exact sums, planted heads in a trained network, levels of tests and classes by simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import multinomial

from tests.conftest import CLASSES, toy_images
from vhs.counts import Counts
from vhs.measures import margins, routing
from vhs.seeds import FOLDS

TOLERANCE = 0.06
FILLS = ",".join(routing.FILLS)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained ViT of one layer of two heads: L0H0 has no queries and keys, so it is static; L0H1 is dead.

    Neither changes in training: what is multiplied by zeros has no gradient.
    """
    from safetensors.torch import load_file

    from vhs.fitting.training import Training
    from vhs.formats import checkpoints
    from vhs.formats.sharding import write_set
    from vhs.formats.shards import ShardSet
    from vhs.formats.split import from_arrays
    from vhs.notebook import train
    from vhs.runs import runtime
    from vhs.training.recipe import Recipe

    folder = tmp_path_factory.mktemp("planted")
    for split, count, seed in (("train", 300, 1), ("val", 500, 2)):
        images, labels = toy_images(count, seed)
        data = from_arrays(images, labels, name="toy", split=split, classes=CLASSES, prefix=split)
        write_set(folder / "shards" / split, data, per_tar=500)
    sets = [ShardSet.open(folder / "shards" / split) for split in ("train", "val")]
    recipe = Recipe(depth=1, dim=16, heads=2, patch=14, epochs=1, batch=30, lr=1e-9)
    start = folder / "start.safetensors"
    Training(out=start, train=sets[0], val=sets[1], recipe=recipe, device=runtime.prepare("cpu", 1, "float32")).run(
        resuming=False
    )
    tensors, info = load_file(str(start)), checkpoints.read_info(start)
    for name in ("weight", "bias"):
        tensors[f"blocks.0.attn.qkv.{name}"][0:8] = 0
        tensors[f"blocks.0.attn.qkv.{name}"][16:24] = 0
        tensors[f"blocks.0.attn.qkv.{name}"][40:48] = 0
    tensors["blocks.0.attn.proj.weight"][:, 8:16] = 0
    checkpoints.save(folder / "begun.safetensors", tensors, info)
    settings = {"epochs": 12, "batch": 30, "lr": 5e-3}
    train(
        folder / "shards", folder / "vit.safetensors", settings=settings, init=folder / "begun.safetensors", quiet=True
    )
    return folder / "vit.safetensors"


def test_a_static_head_is_the_only_static_one_and_a_dead_one_is_unused(planted: Path, vhs) -> None:
    code, _, err = vhs("ablate", planted, "--shift", "gaussian_noise:1", "--shift", "brightness:1", "--fill", FILLS,
                       "-o", "f.csv")  # fmt: skip
    assert code == 0, err
    code, _, err = vhs("compare", "f.csv", "--summary", "routing", "--tolerance", TOLERANCE, "-o", "r.csv")
    assert code == 0, err
    table, exact = pl.read_csv("r.csv"), pl.read_csv("f.csv").filter(pl.col("unit") == "head")
    assert table.height == 3 * 2 * 2 and np.allclose(table["routing"] + table["fixed"], table["total"], atol=1e-12)
    kinds = {(row[0], row[1]): row[2] for row in table.select("layer", "head", "class").unique().iter_rows()}
    assert kinds == {(0, 0): "static", (0, 1): "unused"}
    clean = table.filter((pl.col("scale") == "accuracy") & (pl.col("shift") == "clean")).sort("layer", "head")
    for fill, column in (("mean-flat", "total"), ("mean-map", "routing"), ("donor-map", "donor")):
        own = exact.filter((pl.col("fill") == fill) & (pl.col("shift") == "clean")).sort("layer", "head")
        assert np.allclose(clean[column], own["drop"], atol=1e-12)
    frozen = clean.filter((pl.col("layer") == 0) & (pl.col("head") == 0))
    assert frozen["routing"][0] == frozen["donor"][0] == 0 and frozen["total"][0] > TOLERANCE
    assert vhs("plot", "r.csv", "-o", "r.png")[0] == 0
    code, out, _ = vhs("info", "--say", "r.csv")
    assert code == 0 and "1 of 2 heads are unused" in out and "1 static" in out


def test_what_the_routing_summary_needs_is_said(planted: Path, vhs) -> None:
    assert vhs("ablate", planted, "--fill", "zero,mean-map", "--max-samples", 60, "-o", "z.csv")[0] == 0
    code, _, err = vhs("compare", "z.csv", "--summary", "routing")
    assert code == 2 and "takes --fill mean-flat,mean-map,donor-map" in err and "the tables have mean-map." in err
    code, _, err = vhs("compare", "z.csv", "--summary", "routing", "--tolerance", 0)
    assert code == 2 and "expected a share between 0 and 1" in err


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (2, 1), (1, 4), (6, 0), (3, 3)])
@pytest.mark.parametrize("upper", [False, True])
def test_one_sided_p_equals_summing_every_outcome(lost: int, gained: int, *, upper: bool) -> None:
    from scipy.stats import beta

    n, margin = 20, 0.1
    observed, count = float(margins.score(lost, gained, n, margin)), lost + gained
    highest = beta.ppf(1 - margins.GAMMA, count + 1, n - count)
    worst = 0.0
    for rate in np.linspace(margin, highest, margins.RATES):
        odds = [(rate + margin) / 2, (rate - margin) / 2, 1 - rate]
        tail = 0.0
        for a in range(n + 1):
            for b in range(n + 1 - a):
                z = float(margins.score(a, b, n, margin))
                if z >= observed - 1e-9 if upper else z <= observed + 1e-9:
                    tail += multinomial.pmf([a, b, n - a - b], n, odds)
        worst = max(worst, tail)
    test = margins.above_p if upper else margins.below_p
    assert np.isclose(test(lost, gained, n, margin), min(1, worst + margins.GAMMA), atol=1e-9)


def test_published_floor_of_images_nothing_lost() -> None:
    """ceil(ln(.05 - .001) / ln(1 - .01)) = 301: so many at least for a margin of one point."""
    assert margins.below_p(0, 0, 301, 0.01) <= 0.05 < margins.below_p(0, 0, 300, 0.01)
    assert margins.above_p(0, 0, 10**6, 0.01) == 1.0


@pytest.mark.parametrize(("n", "rate", "margin"), [(500, 0.02, 0.01), (500, 0.06, 0.01), (2000, 0.012, 0.005)])
def test_levels_at_the_margin(n: int, rate: float, margin: float) -> None:
    rng = np.random.default_rng(0)
    draws = rng.multinomial(n, [(rate + margin) / 2, (rate - margin) / 2, 1 - rate], 4000)
    for test in (margins.below_p, margins.above_p):
        level = (test(draws[:, 0], draws[:, 1], n, margin) <= 0.05).mean()
        assert level <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000), level


def drawn(rng: np.random.Generator, drops_KH: np.ndarray, rate: float, n: int) -> list[Counts]:
    """Tallies of heads under conditions with these true drops; the images of a condition are its own draw."""
    found = []
    for drops_H in drops_KH:
        cells = np.stack([
            rng.multinomial(n // FOLDS, [(rate + drop) / 2, (rate - drop) / 2, 1 - rate], FOLDS) for drop in drops_H
        ])  # fmt: skip
        lost, gained = cells[..., 0], cells[..., 1]
        found.append(Counts(np.stack([np.full_like(lost, n // FOLDS), lost, gained], -1), ("n", "n_lost", "n_gained")))
    return found


@pytest.mark.slow
def test_levels_of_the_classes() -> None:
    """Heads exactly at the margin in one condition and far below in the others are rarely called what they are not."""
    rng, margin, heads, runs = np.random.default_rng(1), 0.02, 6, 40
    wrong = dict.fromkeys(("unused", "static", "routing"), 0)
    for _ in range(runs):
        at_margin = np.zeros((4, heads))
        at_margin[rng.integers(4)] = margin
        strong = np.full((4, heads), 0.1)
        cases = {
            "unused": {"mean-flat": at_margin, "mean-map": at_margin * 0, "donor-map": at_margin * 0},
            "static": {"mean-flat": strong, "mean-map": at_margin, "donor-map": at_margin},
            "routing": {"mean-flat": strong, "mean-map": np.full((4, heads), margin), "donor-map": strong},
        }
        for name, drops in cases.items():
            tallies = {
                fill: drawn(rng, part, 0.11 if part.max() > 0.05 else 0.03, 2000) for fill, part in drops.items()
            }
            wrong[name] += int((routing.classify(tallies, margin).classes == name).any())
    for name, count in wrong.items():
        assert count / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs), (name, count)


@pytest.mark.slow
def test_classes_are_found_where_images_are_many_and_the_number_needed_is_told() -> None:
    rng, margin = np.random.default_rng(2), 0.02
    total = np.tile([0.0, 0.1, 0.1, 0.021], (4, 1))
    route = np.tile([0.0, 0.0, 0.08, 0.019], (4, 1))
    few, many = (
        routing.classify(
            {"mean-flat": drawn(rng, total, 0.11, n), "mean-map": drawn(rng, route, 0.09, n),
             "donor-map": drawn(rng, route, 0.09, n)}, margin,
        ) for n in (400, 12000)
    )  # fmt: skip
    assert many.classes.tolist() == ["unused", "static", "routing", "undecided"]
    assert few.classes[0] == "undecided" and 400 < few.images[0] < 60000 and np.isnan(many.images[:3]).all()
    without = routing.classify({"mean-flat": drawn(rng, total, 0.11, 12000), "mean-map": drawn(rng, route, 0.09, 12000)},
                               margin)  # fmt: skip
    assert without.classes[1] == "undecided", "a head that does not route must be shown by both kinds of map"
