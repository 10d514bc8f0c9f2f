"""Fills and units against whole passes of timm's own with the same values put in by the test's own hooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from tests.naive import replaced_logits
from tests.networks import MODELS, filled, model_of, pixels_of
from vhs.grid import HeadGrid, Units
from vhs.measures.fills import DONORS, Bank
from vhs.models.engine import keeps
from vhs.models.model import Model


def received(model: Model, images: Tensor) -> list[Tensor]:
    """What each projection receives, by timm's own forward."""
    kept: list[Tensor] = []
    handles = [
        projection.register_forward_pre_hook(lambda _m, args: kept.append(args[0].clone()))
        for projection in (place.projection for place in model.engine.seams)
    ]
    with torch.inference_mode():
        model.net(model.preprocess(images))
    for handle in handles:
        handle.remove()
    return kept


def instead_of(kind: str, bank: list[Tensor], images: int, rows: int, keys: Tensor, layer: int, axis: int) -> Tensor:
    """What fills layer `layer`, computed from what the bank's projections received."""
    per_image = bank[layer].unflatten(0, (images, -1))
    if kind == "resample":
        return torch.cat([per_image[int(key) % min(images, DONORS)] for key in keys])
    mean = per_image.mean(0)
    if kind == "mean-flat":
        others = [index for index in range(mean.dim()) if index != axis % mean.dim()]
        return mean.mean(others, keepdim=True)
    return mean.repeat(rows // len(mean), *[1] * (mean.dim() - 1))


@pytest.mark.parametrize(
    ("name", "unit"),
    [(name, unit) for name in MODELS for unit in ("head", "only", "pair") if unit != "pair" or "fast" in name],
)
def test_fills_and_units_equal_whole_passes(name: str, unit: str) -> None:
    model = MODELS[name]()
    calibration, images = pixels_of(model, 4, 1), pixels_of(model, 3, 2)
    keys = torch.tensor([5, 2, 7])
    bank = Bank(model, [calibration])
    kinds = ("zero", "mean", "mean-flat", "resample")
    found: dict[int, list[Tensor]] = {}
    with torch.inference_mode():
        parts = model.engine.sweep(
            model.preprocess(images), 3, keeps(model.grid, Units(unit)), filled(kinds, model, bank, images, keys)
        )
        for kind, logits in parts:
            found.setdefault(kind, []).append(logits)
    kept, own = received(model, calibration), received(model, images)
    scale = found[-1][0].abs().max()
    units = list(model.grid.units(Units(unit)))
    for index, kind in enumerate(kinds):
        got = torch.cat(found[index])
        assert len(got) == len(units)
        for logits, removed in list(zip(got, units, strict=True))[:: 1 if name.startswith("fast") else 5]:
            layer, axis = removed.layer, model.engine.seams[removed.layer].axis
            zeros = torch.zeros(1)
            value = zeros if kind == "zero" else instead_of(kind, kept, 4, len(own[layer]), keys, layer, axis)
            want = replaced_logits(model, images, layer, [head for _, head in removed.removed], value)
            assert (logits - want).abs().max() / scale < 1e-5, (kind, removed)


def test_a_bank_of_the_image_itself_changes_nothing() -> None:
    model = model_of("registers")
    image = pixels_of(model, 1, 3)
    bank = Bank(model, [image])
    with torch.inference_mode():
        parts = model.engine.sweep(
            model.preprocess(image),
            4,
            keeps(model.grid),
            filled(("mean", "resample"), model, bank, image, torch.tensor([9])),
        )
        logits = [part for _, part in parts]
    intact = logits.pop()[0]
    assert all((part - intact).abs().max() / intact.abs().max() < 1e-5 for part in logits)


def test_units_name_what_goes() -> None:
    grid = HeadGrid((2, 3))
    assert [tuple(head for _, head in unit.removed) for unit in grid.units(Units("only"))] == [
        (), (0, 1), (1,), (0,), (0, 1, 2), (1, 2), (0, 2), (0, 1)
    ]  # fmt: skip
    assert [tuple(row.tolist()) for row in keeps(grid)[1]] == [(0, 1, 1), (1, 0, 1), (1, 1, 0)]
    assert [len(rows) for rows in keeps(grid, Units("layer"))] == [2, 1]


def test_several_fills_from_the_command_line(vhs, toy_checkpoint: Path) -> None:
    """Zero among several gives the rows of zero alone; calibration images are named, recorded and never scored."""
    from vhs.formats import tables

    options = ("ablate", toy_checkpoint, "--shift", "contrast:2")
    code, _, err = vhs(*options, "--fill", "zero,mean,resample", "-o", "f.parquet")
    assert code == 0, err
    assert vhs(*options, "-o", "z.parquet")[0] == 0
    several, alone = pl.read_parquet("f.parquet"), pl.read_parquet("z.parquet")
    assert several.filter(pl.col("fill") == "zero").drop("table_rows").equals(alone.drop("table_rows"))
    assert several["fill"].unique(maintain_order=True).to_list() == ["zero", "mean", "resample"]
    told = several.filter(pl.col("fill") == "mean")["fill_data"].unique().to_list()
    assert told == ["toy/train clean, 96 images"]
    ids = tables.read_provenance(Path("f.parquet"))["fill_ids"]
    assert len(ids) == 96 and all(name.startswith("train") for name in ids)
    shams = several.filter(pl.col("unit") == "none")
    assert shams.height == 6 and shams["n_lost"].sum() == shams["n_gained"].sum() == 0
    folds = pl.read_parquet("f.folds.parquet")
    assert folds.height == several.height * 20
    code, _, err = vhs("compare", "f.parquet", "-o", "a.csv")
    assert code == 0 and set(pl.read_csv("a.csv")["fill"]) == {"zero", "mean", "resample"}


def test_calibration_never_meets_a_scored_sample(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    code, _, err = vhs("ablate", toy_checkpoint, "--fill", "mean", "--fill-data", toy_shards / "val")
    assert code == 4 and "would be fill image and scored image" in err
    code, _, err = vhs("ablate", toy_checkpoint, "--fill", "median")
    assert (
        code == 2
        and "--fill median: expected zero, mean, mean-flat, resample, uniform, mean-map, donor-map, twin or twin-break"
        in err
    )
    code, _, err = vhs("ablate", toy_checkpoint, "--unit", "block")
    assert code == 2 and "--unit block: expected head, layer, only, pair or mlp" in err


def test_layers_and_single_heads(vhs, toy_checkpoint: Path) -> None:
    """A layer without heads is the same for `layer` and `only`; sufficiency is against it."""
    for unit in ("layer", "only"):
        code, _, err = vhs("ablate", toy_checkpoint, "--unit", unit, "-o", f"{unit}.csv")
        assert code == 0, err
    layer, only = pl.read_csv("layer.csv"), pl.read_csv("only.csv")
    assert layer["unit"].to_list() == ["none", "layer", "layer", "layer"] and layer["heads"][1] == "L0H0+L0H1"
    empty = only.filter(pl.col("unit") == "layer")
    assert empty["n_correct"].to_list() == layer.filter(pl.col("unit") == "layer")["n_correct"].to_list()
    for row in only.filter(pl.col("unit") == "only").iter_rows(named=True):
        base = empty.filter(pl.col("layer") == row["layer"])["n_correct"].item()
        assert np.isclose(row["score"], (row["n_correct"] - base) / row["n"])


def test_twins_restore_and_break(vhs, toy_checkpoint: Path) -> None:
    """On clean nothing happens; under a shift restoring equals a pass over the shifted images with clean outputs."""
    options = ("ablate", toy_checkpoint, "--shift", "gaussian_noise:5", "--fill", "twin,twin-break")
    code, _, err = vhs(*options, "-o", "t.csv")
    assert code == 0, err
    table = pl.read_csv("t.csv")
    clean = table.filter(pl.col("shift") == "clean")
    assert clean["n_lost"].sum() == clean["n_gained"].sum() == 0 and np.allclose(clean["dloss"], 0, atol=1e-6)
    shifted = table.filter(pl.col("shift") != "clean")
    restore, broken = (shifted.filter(pl.col("fill") == fill) for fill in ("twin", "twin-break"))
    assert set(broken["n_correct_intact"]) == set(clean["n_correct_intact"]), "breaking starts from the clean images"
    assert restore["dloss"].abs().max() > 1e-5 and broken["dloss"].abs().max() > 1e-5
    code, _, err = vhs(
        "ablate", toy_checkpoint, "--shift", toy_checkpoint.parent / "shards" / "train", "--fill", "twin"
    )
    assert code == 2 and "needs shifts made on the fly" in err


def test_a_twin_is_put_in_head_by_head() -> None:
    from vhs.measures.fills import twin

    model = model_of("class token")
    shifted, clean = pixels_of(model, 3, 5), pixels_of(model, 3, 6)
    with torch.inference_mode():
        parts = model.engine.sweep(model.preprocess(shifted), 4, keeps(model.grid), [twin(model, clean)])
        got = torch.cat([logits for _, logits in parts])
    own = received(model, clean)
    for logits, unit in zip(got, model.grid.units(), strict=False):
        want = replaced_logits(model, shifted, unit.layer, [head for _, head in unit.removed], own[unit.layer])
        assert (logits - want).abs().max() / want.abs().max() < 1e-5
