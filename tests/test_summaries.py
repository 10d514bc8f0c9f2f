"""Roll-ups, dispensable heads, two models on the same samples, groups, and runs sized by a wanted width."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import CLASSES
from vhs.counts import Counts
from vhs.errors import VhsError
from vhs.measures.redundancy import redundancy
from vhs.seeds import FOLDS

SHIFT = ("--shift", "contrast:2,5", "--shift", "brightness:4")


@pytest.fixture
def heads(vhs, toy_checkpoint: Path) -> pl.DataFrame:
    """heads.csv with its folds, and outcomes.parquet, in the test's folder."""
    code, _, err = vhs("ablate", toy_checkpoint, *SHIFT, "--by", "label", "--per-sample", "outcomes.parquet",
                       "-o", "heads.csv")  # fmt: skip
    assert code == 0, err
    return pl.read_csv("heads.csv")


def test_rollups_are_the_means_of_their_conditions(heads: pl.DataFrame, vhs) -> None:
    code, _, err = vhs("compare", "heads.csv", "--summary", "rollup", "-o", "rollup.csv")
    assert code == 0, err
    table = pl.read_csv("rollup.csv").filter(pl.col("scale") == "accuracy")
    assert table.select("over", "n_conditions").unique().sort("over").rows() == [
        ("contrast", 2), ("digital", 2), ("imagenet-c", 3)
    ]  # fmt: skip
    rows = heads.filter((pl.col("unit") == "head") & (pl.col("group") == "all"))
    for name, column in (("contrast", "corruption"), ("imagenet-c", "shift")):
        want = rows.filter(pl.col(column) == name).group_by("layer", "head", maintain_order=True).agg(
            pl.col("drop").mean()
        )  # fmt: skip
        clean = rows.filter(pl.col("shift") == "clean")["drop"].to_numpy()
        found = table.filter(pl.col("over") == name)
        assert np.allclose(found["value"], want["drop"]) and np.allclose(found["clean"], clean)
        assert np.allclose(found["diff"], want["drop"].to_numpy() - clean)
        assert (found["lo"] <= found["value"]).all() and (found["value"] <= found["hi"]).all()


def test_redundant_needed_and_undecided_by_hand() -> None:
    lost, gained = np.array([[0] * FOLDS, [20] * FOLDS, [1] * FOLDS]), np.array([[0] * FOLDS, [0] * FOLDS, [0] * FOLDS])
    n = np.full((3, FOLDS), 100)
    found = redundancy(Counts(np.stack([n, lost, gained], -1), ("n", "n_lost", "n_gained")), 0.01)
    assert found[:3] == (1, 1, 1), "drops 0, .2 and .01 of 2,000 against a tolerance of .01"
    assert found.equal_p < 0.01
    same = Counts(np.stack([n, np.tile(lost[2], (3, 1)), gained], -1), ("n", "n_lost", "n_gained"))
    assert redundancy(same, 0.01).equal_p == 1.0


def test_redundancy_table_counts_every_head(heads: pl.DataFrame, vhs) -> None:
    code, out, err = vhs("compare", "heads.csv", "--summary", "redundancy", "--tolerance", 0.2)
    assert code == 0, err
    table = pl.read_csv(out.encode())
    assert len(table) == 4 and set(table["tolerance"]) == {0.2}
    assert (table["n_redundant"] + table["n_needed"] + table["n_undecided"] == table["n_heads"]).all()
    rows = heads.filter((pl.col("unit") == "head") & (pl.col("group") == "all") & (pl.col("shift") == "clean"))
    assert table["n_redundant"][0] == rows.filter(pl.col("drop_hi") < 0.2).height


def test_groups_of_an_ablation_partition_its_samples(heads: pl.DataFrame) -> None:
    assert heads["group"].unique(maintain_order=True).to_list() == ["all", *(f"label={name}" for name in CLASSES)]
    keys = ["shift", "corruption", "severity", "heads"]
    whole = heads.filter(pl.col("group") == "all").sort(keys)
    parts = heads.filter(pl.col("group") != "all").group_by(keys).agg(
        pl.col("n", "n_lost", "n_gained", "n_correct", "n_near_tie").sum()
    ).sort(keys)  # fmt: skip
    for column in ("n", "n_lost", "n_gained", "n_correct", "n_near_tie"):
        assert parts[column].to_list() == whole[column].to_list()


def test_outcomes_add_up_to_the_table(heads: pl.DataFrame) -> None:
    outcomes = pl.read_parquet("outcomes.parquet")
    assert outcomes.height == 4 * 85 and outcomes["sample"].n_unique() == 85
    units = outcomes["units"][0].split()
    assert units[:3] == ["intact", "none", "L0H0"] and len(units) == 8
    rows = heads.filter(pl.col("group") == "all")
    for (shift, severity), part in outcomes.group_by("shift", "severity"):
        packed = np.array([list(bytes.fromhex(text)) for text in part["right"]], np.uint8)
        right = np.unpackbits(packed, axis=1, bitorder="little")[:, : len(units)].sum(0)
        of = rows.filter((pl.col("shift") == shift) & (pl.col("severity") == severity))
        if of.height == len(units) - 1:  # contrast:5 and brightness:4 are told apart by severity here
            assert right[0] == of["n_correct_intact"][0] and right[1:].tolist() == of["n_correct"].to_list()


def test_two_models_on_the_same_samples(heads: pl.DataFrame, vhs, toy_checkpoint: Path) -> None:
    """Against counting pairs by hand; swapping the models turns the sign."""
    from safetensors.torch import load_file

    from vhs.formats import checkpoints

    tensors, info = load_file(str(toy_checkpoint)), checkpoints.read_info(toy_checkpoint)
    tensors["blocks.1.attn.qkv.weight"] *= 1.7
    checkpoints.save(Path("other.safetensors"), tensors, info)
    code, _, err = vhs("ablate", "other.safetensors", *SHIFT, "--data", toy_checkpoint.parent / "shards", "--per-sample",
                       "other.parquet", "-o", "other.csv")  # fmt: skip
    assert code == 0, err
    code, _, err = vhs("compare", "outcomes.parquet", "--against", "other.parquet", "-o", "versus.csv")
    assert code == 0, err
    table = pl.read_csv("versus.csv")
    assert table.height == 4 * 8 and (table["n"] == 85).all()
    assert (table["n_correct_b"] - table["n_correct_a"] == table["n_only_b"] - table["n_only_a"]).all()
    other = pl.read_csv("other.csv").filter(pl.col("shift") == "clean")
    assert table.filter(pl.col("shift") == "clean")["n_correct_b"].to_list()[1:] == other["n_correct"].to_list()
    assert vhs("compare", "other.parquet", "--against", "outcomes.parquet", "-o", "back.csv")[0] == 0
    assert np.allclose(pl.read_csv("back.csv")["diff"], -table["diff"])
    code, _, err = vhs("compare", "heads.csv", "--against", "outcomes.parquet")
    assert code == 4 and "is of kind ablate; expected outcomes" in err


def test_a_run_is_sized_by_a_pilot(vhs, toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-widths fall with the root of n; all conditions have the same samples, and p and q are empty."""
    from vhs.runs import sizing

    monkeypatch.setattr(sizing, "PILOT", 30)
    code, _, err = vhs("ablate", toy_checkpoint, "--shift", "contrast:2", "--half-width", 0.15, "-o", "t.csv")
    assert code == 0 and "of 85 samples" in err, err
    table = pl.read_csv("t.csv")
    assert table["n"].n_unique() == 1 and 30 <= table["n"][0] <= 85
    assert table["p"].null_count() == table["q"].null_count() == table.height
    code, _, err = vhs("ablate", toy_checkpoint, "--half-width", 0.001, "-o", "u.csv")
    assert code == 0 and "the width is not reached" in err
    assert pl.read_csv("u.csv")["n"][0] == 85


def test_out_of_memory_keeps_the_journal_and_goes_on_at_another_tile(
    vhs, toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from vhs.measures.ablation import HeadAblation

    add = HeadAblation.add
    calls = []

    def failing(self: HeadAblation, batch) -> None:
        calls.append(batch.size)
        if len(calls) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        add(self, batch)

    options = ("ablate", toy_checkpoint, "--shift", "contrast:2", "-o", "t.csv")
    monkeypatch.setattr(HeadAblation, "add", failing)
    code, _, err = vhs(*options, "--tile", 32)
    assert code == 1 and "--resume --tile 16" in err and Path("t.csv.partial").exists() and not Path("t.csv").exists()
    monkeypatch.setattr(HeadAblation, "add", add)
    code, _, err = vhs(*options, "--resume", "--tile", 16)
    assert code == 0 and "continuing after 1 of 2 conditions" in err
    assert vhs(*options[:-1], "whole.csv", "--tile", 16)[0] == 0
    counted = ["n", "n_correct", "n_lost", "n_gained"]
    assert pl.read_csv("t.csv").select(counted).equals(pl.read_csv("whole.csv").select(counted))


def test_the_first_tile_shrinks_where_memory_is_short(toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from vhs.formats.references import load
    from vhs.formats.shards import ShardSet
    from vhs.runs import opening as runs
    from vhs.runs import remarks
    from vhs.runs.conditions import parse

    settle = remarks.settle

    def small(model, images, group):
        if len(images) > 48:
            raise torch.OutOfMemoryError
        return settle(model, images, group)

    monkeypatch.setattr(remarks, "settle", small)
    model = load(str(toy_checkpoint), torch.device("cpu")).model
    notes: list[str] = []
    opened = runs.open_run(
        [model], ShardSet.open(toy_checkpoint.parent / "shards" / "val"), parse([]), note=notes.append
    )
    assert opened.tile == 48 and "trying 48" in notes[0]
    with pytest.raises((VhsError, torch.OutOfMemoryError)):
        runs.open_run([model], ShardSet.open(toy_checkpoint.parent / "shards" / "val"), parse([]), tile=64)


def test_a_plan_says_what_a_run_takes(vhs, toy_checkpoint: Path) -> None:
    from vhs.measures.intervals import mcnemar
    from vhs.runs.plan import fewest_flips

    for heads in (6, 24, 144):
        k = fewest_flips(heads)
        assert mcnemar(k, 0) <= 0.05 / heads < mcnemar(k - 1, 0)
    code, out, _ = vhs("ablate", toy_checkpoint, *SHIFT, "--dry-run")
    assert code == 0
    for words in ("340 intact, 2,380 from a head on", "FLOPs", "about 1 s", "detects     a drop of", "MiB a tile"):
        assert words in out


def test_counted_multiplications_are_those_of_the_profiler(toy_checkpoint: Path) -> None:
    """Of the naive pass, by torch's own FLOP counter; one multiply-add is 2 FLOPs."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from tests.bench.sweep import MODELS
    from vhs.models import flops
    from vhs.models.building import build

    spec = MODELS["12 x 3, 224 px"]
    net = build(spec).eval()
    for block in net.blocks:
        block.attn.fused_attn = False  # the counter does not see into the CPU's fused kernel
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.zeros(1, 3, 224, 224))
    assert counter.get_total_flops() == 2 * flops.costs(net).forward


@pytest.mark.slow
def test_compiled_counts_are_those_of_eager(vhs, toy_checkpoint: Path) -> None:
    for name, option in (("eager.csv", ()), ("compiled.csv", ("--compile",))):
        code, _, err = vhs("ablate", toy_checkpoint, "--shift", "contrast:2", "-o", name, *option)
        assert code == 0, err
    eager, compiled = pl.read_csv("eager.csv"), pl.read_csv("compiled.csv")
    counted = ["n", "n_correct", "n_lost", "n_gained"]
    assert eager.select(counted).equals(compiled.select(counted))
    assert np.allclose(eager["dloss"], compiled["dloss"], atol=1e-5)


def test_the_shell_offers_the_summaries_there_are() -> None:
    from vhs import options
    from vhs.measures.contrast import SCALES
    from vhs.summary import OF_SHIFT, SUMMARIES

    assert set(options.SCALES) == set(SCALES)
    assert set(SUMMARIES) == {*options.OF_FOLDS, *options.OF_SHIFT} and set(OF_SHIFT) == set(options.OF_SHIFT)
