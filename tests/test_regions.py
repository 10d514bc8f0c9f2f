"""Regions: planted heads on real chirp images, sums and not means of ratios, references, levels of activity, kinds."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from tests.networks import batch_for, model_of
from vhs.batch import Batch
from vhs.errors import MismatchError, UsageError
from vhs.formats import schemas
from vhs.grid import HeadGrid
from vhs.measures import intervals, ratios, regions
from vhs.measures.head_values import Look, Others, Wanted
from vhs.measures.layer import Layer
from vhs.measures.observation import Observation
from vhs.measures.region_tally import RegionTally
from vhs.models.tokens import GLOBAL, Layout
from vhs.roles.kinds import EXCESS, kinds
from vhs.sources import chirps

GRID = (16, 16)
LAYOUT = Layout(GLOBAL, 257, 257, 1, ("class",), GRID, (8.0, 8.0))
IMAGES, OTHERS = 40, 8


@pytest.fixture(scope="module")
def rendered() -> list[chirps.Rendered]:
    signals = [chirps.draw(0, "val", index) for index in range(IMAGES + OTHERS)]
    return [chirps.render(signal, 128, chirps.DISTORTIONS, 1000 + i) for i, signal in enumerate(signals)]


def stacked(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images))


def attending(weights_BP: torch.Tensor) -> torch.Tensor:
    """[B, 1, 257, 257]: maps whose class token looks so at patches."""
    maps = torch.full((len(weights_BP), 1, 257, 257), 1 / 257)
    maps[:, 0, 0, 1:] = weights_BP / weights_BP.sum(-1, keepdim=True) * 0.9
    maps[:, 0, 0, 0] = 0.1
    return maps


def planted(rendered: list[chirps.Rendered]) -> tuple[Look, list[Layer]]:
    """Heads: text, chirp, text and colour bar, the usual place of text, even. And the same on the bare twins."""
    own, other = rendered[:IMAGES], rendered[IMAGES:]
    maps = stacked([one.regions for one in own])
    shares = regions.shares(maps, len(chirps.REGIONS), GRID)
    place = {name: shares[:, chirps.REGIONS.index(name)] for name in chirps.REGIONS}
    torch.manual_seed(0)
    noise = torch.rand(5, IMAGES, 256) * 0.02 + 0.01
    usual = place["text"].mean(0).expand(IMAGES, -1)
    looks = [place["text"], place["chirp"], place["text"] + place["colorbar"], usual, torch.zeros(IMAGES, 256)]
    bare = [torch.zeros(IMAGES, 256), place["chirp"], torch.zeros(IMAGES, 256), usual, torch.zeros(IMAGES, 256)]

    def layer(weights: list[torch.Tensor]) -> Layer:
        heads = [attending(look + noise[head]) for head, look in enumerate(weights)]
        return Layer(LAYOUT, IMAGES, torch.cat(heads, 1))

    images = [stacked([getattr(one, kind) for one in own]).permute(0, 3, 1, 2) for kind in ("image", "bare")]
    numbers = torch.arange(IMAGES)
    batch = Batch(
        images[0],
        numbers * 0,
        numbers,
        numbers % 20,
        numbers[None] * 0,
        IMAGES,
        regions_BHW=maps,
        bare_BCHW=images[1],
        added_BR=regions.differing(images[0], images[1], maps, len(chirps.REGIONS)),
    )
    elsewhere = Others(images[0][:OTHERS], numbers[:OTHERS] + 1000, stacked([one.regions for one in other]))
    seen = Observation([layer(looks)], [], None, torch.zeros(IMAGES, 2))
    return Look(model_of("class token"), batch, seen, None, elsewhere, None), [layer(bare)]


def excesses(rendered: list[chirps.Rendered]) -> pl.DataFrame:
    look, on_twin = planted(rendered)
    wanted = Wanted(others=look.others, regions=chirps.REGIONS)
    tally = RegionTally(HeadGrid((5,)), look.now.layers, wanted, torch.device("cpu"))
    tally.add(look, on_twin)
    counts = tally.counts()["regions"]
    rows = []
    for metric, statistic in ratios.OF_REGIONS.items():
        for entry, value, lo, hi in zip(tally.entries, *intervals.jackknifed(counts, statistic), strict=True):
            rows.append(
                {"head": entry.head.head, "metric": metric, "of": entry.region, "value": value, "lo": lo, "hi": hi}
            )
    return pl.DataFrame(rows)


HEADS = ("text", "chirp", "text and colorbar", "place", "even")


def test_planted_heads_are_found_and_told_apart(rendered: list[chirps.Rendered]) -> None:
    """The head of a place looks at text as the text head does, and is not called a text detector."""
    table = excesses(rendered)
    found = {
        HEADS[head]: set(
            table.filter((pl.col("head") == head) & (pl.col("metric") == "region_excess") & (pl.col("lo") > EXCESS))[
                "of"
            ]
        )
        for head in range(5)
    }
    assert found == {
        "text": {"text"},
        "chirp": {"chirp"},
        "text and colorbar": {"text", "colorbar"},
        "place": set(),
        "even": set(),
    }
    raw = table.filter((pl.col("metric") == "region_enrichment") & (pl.col("of") == "text"))["value"].to_list()
    assert raw[0] > 2 and raw[3] > 2  # raw enrichment alone would have called both so


def test_even_attention_is_enriched_nowhere(rendered: list[chirps.Rendered]) -> None:
    table = excesses(rendered).filter((pl.col("head") == 4) & (pl.col("metric") == "region_enrichment"))
    assert ((table["value"] - 1).abs() < 0.05).all()


def test_enrichment_is_a_ratio_of_sums() -> None:
    """Two images: a region of one patch that gets .5, and one of three that gets .3, of four patches."""
    looks = torch.tensor([[[0.5, 0.2, 0.2, 0.1]], [[0.1, 0.1, 0.1, 0.7]]])
    shares = torch.tensor([[[1.0, 0, 0, 0]], [[1.0, 1, 1, 0]]])
    none = torch.zeros(2, 1, dtype=torch.bool)
    sums = regions.tallied(looks, shares, shares[:1], none, None, None)
    whole = {name: value.sum(-1).numpy() for name, value in sums.items()}
    want = ((0.5 + 0.3) / 4) / (2 / 8)
    assert ratios.enrichment(whole)[0, 0] == pytest.approx(want)
    outside = (0.5 + 0.7) / 4
    assert ratios.selectivity(whole)[0, 0] == pytest.approx((0.2 - outside) / (0.2 + outside))


def test_an_image_without_a_region_does_not_count() -> None:
    looks = torch.rand(2, 1, 4)
    shares = torch.tensor([[[1.0, 0, 0, 0]], [[0.0, 0, 0, 0]]])
    sums = regions.tallied(looks, shares, shares, torch.zeros(2, 2, dtype=torch.bool), None, None)
    assert sums["n"].tolist() == [[[1, 0]]] and sums["all"][0, 0, 1] == 0


def test_levels_of_activity() -> None:
    looks = torch.full((1, 24), 0.01)
    looks.view(4, 6)[:2, :2] = 1.0
    looks.view(4, 6)[2:, 4:] = 0.4
    levels = regions.activity(looks, 3, (4, 6)).view(4, 6)
    assert (levels[:2, :2] == 2).all() and (levels[2:, 4:] == 1).all() and (levels == 0).sum() == 16
    odd = regions.activity(torch.rand(5, 15), 2, (3, 5))
    assert odd.shape == (5, 15) and set(odd.unique().tolist()) == {0, 1}


def test_levels_have_the_least_sum_of_squares() -> None:
    """Against every way to cut sorted numbers in three."""
    torch.manual_seed(1)
    looks = torch.rand(3, 4 * 36) ** 3
    levels = regions.activity(looks, 3, (12, 12))
    for image in range(3):
        pooled = torch.nn.functional.avg_pool2d(looks[image].view(1, 1, 12, 12), 2).flatten().double().sort().values
        cuts = [(a, b) for a in range(1, 35) for b in range(a + 1, 36)]

        def cost(cut: tuple[int, int], values=pooled) -> float:  # type: ignore[no-untyped-def]
            return float(sum(((part - part.mean()) ** 2).sum() for part in values.tensor_split(cut)))

        first, second = min(cuts, key=cost)
        small = levels[image].view(12, 12)[::2, ::2].flatten().bincount()
        assert small.tolist() == [first, second - first, 36 - second]


def test_more_levels_than_squares_are_refused() -> None:
    with pytest.raises(MismatchError, match="the image has 4 squares of 2 x 2 patches"):
        regions.activity(torch.rand(1, 16), 5, (4, 4))


def test_few_filled_folds_make_wide_intervals() -> None:
    """Coverage of the ratio's interval where 3 of 20 folds hold samples; empty ones are no replicates."""
    from vhs.counts import Counts

    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(600):
        values = np.zeros((1, 20, 2), np.int64)
        values[0, :3, 0] = 30
        values[0, :3, 1] = np.round((rng.standard_normal((3, 30)) + 5).sum(1) * 2**24)
        _, lo, hi = intervals.jackknifed(Counts(values, ("n", "x")), lambda sums: sums["x"] / np.maximum(sums["n"], 1))
        inside += lo[0] <= 5 <= hi[0]
    assert 0.93 <= inside / 600 <= 0.97


def test_levels_do_not_depend_on_who_else_is_there() -> None:
    torch.manual_seed(0)
    looks = torch.rand(6, 49)
    assert torch.equal(regions.activity(looks, 4, (7, 7))[2:3], regions.activity(looks[2:3], 4, (7, 7)))


def test_a_map_larger_than_the_grid_is_shared_out() -> None:
    maps = torch.zeros(1, 6, 6, dtype=torch.uint8)
    maps[0, :3, :2] = 1
    shares = regions.shares(maps, 2, (2, 2))
    assert shares[0, 1].tolist() == pytest.approx([2 / 3, 0, 0, 0]) and torch.allclose(shares.sum(1), torch.ones(1, 4))


# --- kinds of heads ---
MEASURED = {
    "model": "m", "model_id": "1", "step": 1, "seed": 0, "data": "d/val", "shift": "clean", "category": None,
    "corruption": None, "severity": 0, "origin": "stored", "group": "all", "label_set": "all",
}  # fmt: skip


def heads_rows(spread: dict[int, dict[str, tuple[float, float, float]]], **other: object) -> pl.DataFrame:
    rows = [
        MEASURED | other | {
            "module": "attn", "layer": 0, "head": head, "metric": "region_excess", "of": of, "query": "class",
            "weighting": "attention", "n": 50, "value": value, "lo": lo, "hi": hi, "null_lo": None, "null_hi": None,
            "in_unit": "1",
        }
        for head, regions_of in spread.items() for of, (value, lo, hi) in regions_of.items()
    ]  # fmt: skip
    from vhs.formats.tables import frame

    return frame(schemas.HEADS, rows)


def ablation_rows(effects: dict[int, list[tuple[float, float, float]]]) -> pl.DataFrame:
    """Of a model of targets: one row a target."""
    from vhs.formats.tables import frame

    empty = dict.fromkeys(schemas.ABLATE_REGRESSION.names)
    rows = [
        empty | MEASURED | {
            "unit": "head", "module": "attn", "layer": 0, "head": head, "heads": f"L0H{head}", "fill": "zero",
            "method": "exact", "rescale": "none", "precision": "float32", "target": f"target{index}", "n": 50,
            "mse_intact": 1.0, "mse": 1 + value, "dmse": value, "dmse_rel": value, "dmse_rel_lo": lo, "dmse_rel_hi": hi,
        }
        for head, of in effects.items() for index, (value, lo, hi) in enumerate(of)
    ]  # fmt: skip
    return frame(schemas.ABLATE_REGRESSION, rows)


def test_kinds_of_heads() -> None:
    table = kinds(
        heads_rows({
            0: {"text": (2.0, 1.5, 2.5), "chirp": (0.1, 0.0, 0.2)},
            1: {"text": (2.0, 1.5, 2.5), "chirp": (3.0, 2.0, 4.0)},
            2: {"text": (0.1, 0.0, 0.2), "chirp": (0.2, 0.1, 0.3)},
            3: {"text": (0.6, 0.2, 1.0), "chirp": (0.2, 0.1, 0.3)},
        }),
        ablation_rows({
            0: [(0.001, 0.0, 0.002), (0.2, 0.1, 0.3)], 1: [(0.001, 0.0, 0.002)] * 2,
            2: [(0.01, 0.004, 0.02), (0.0, -0.1, 0.001)], 3: [(0.001, 0.0, 0.002)] * 2,
        }), 0.005,
    )  # fmt: skip
    assert table["kind"].to_list() == ["one", "several", "diffuse", "undecided"]
    assert table["regions"].to_list() == ["text", "chirp+text", None, None]
    assert table["relevant"].to_list() == ["yes", "no", "undecided", "no"]
    assert table["effect_of"][0] == "target1" and table["effect"][0] == 0.2


def test_kinds_need_regions_and_one_model() -> None:
    ablation = ablation_rows({0: [(0.1, 0.0, 0.2)]})
    without = heads_rows({0: {"text": (1.0, 0.5, 1.5)}}).with_columns(metric=pl.lit("distance"))
    with pytest.raises(UsageError, match="has no regions"):
        kinds(without, ablation, 0.005)
    with pytest.raises(MismatchError, match="share no head"):
        kinds(heads_rows({0: {"text": (1.0, 0.5, 1.5)}}, model_id="2"), ablation, 0.005)


def test_kinds_by_command(vhs, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from vhs.formats import tables

    looked = heads_rows({0: {"text": (2.0, 1.5, 2.5)}, 1: {"text": (0.0, -0.1, 0.1)}})
    effects = ablation_rows({0: [(0.2, 0.1, 0.3)], 1: [(0.0, -0.1, 0.001)]})
    for name, table in (("regions.csv", looked), ("heads.csv", effects)):
        (tmp_path / name).write_bytes(tables.render(table, "csv"))
    code, _, err = vhs(
        "compare", tmp_path / "heads.csv", tmp_path / "regions.csv", "--summary", "kinds", "-o", "kinds.csv"
    )
    assert code == 0, err
    assert pl.read_csv("kinds.csv")["kind"].to_list() == ["one", "diffuse"]
    said = vhs("info", "--say", "kinds.csv")[1]
    assert said.startswith("On clean images 1 of 2 heads look at one region, most often text (1)"), said
    assert vhs("plot", "kinds.csv", "-o", "kinds.png")[0] == 0
    code, _, err = vhs("compare", tmp_path / "heads.csv", "--summary", "kinds")
    assert code == 2 and "takes a heads table and an ablate or ablate_regression table together" in err


def test_activity_is_measured_of_any_images() -> None:
    """Without maps beside the images; what is active has no reference, so no excess."""
    from vhs.measures.scoring import Scope
    from vhs.measures.specialization import Specialization
    from vhs.summaries import specialized

    model = model_of("class token")
    batch = batch_for(model, 16)
    wanted = Wanted(others=Others(batch.images_BCHW[:4], batch.keys_B[:4]), activity=2)
    measure = Specialization(model, Scope.whole(13, torch.device("cpu")), wanted)
    measure.add(batch)
    rows = [
        row
        for row in specialized.head_rows(measure.listing, measure.results())
        if row["of"] in ("activity 1", "activity 2")
    ]
    assert {row["metric"] for row in rows} == {"region_enrichment", "region_selectivity"}
    most = [
        r["value"]
        for r in rows
        if r["of"] == "activity 2" and r["metric"] == "region_enrichment" and r["weighting"] == "attention"
    ]
    assert np.mean(most) > 1
