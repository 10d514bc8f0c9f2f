"""First-order estimates against finite differences of a head's output scaled towards its fill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from tests.naive import own_features
from tests.networks import MODELS, pixels_of
from vhs.batch import Batch
from vhs.counts import from_fixed
from vhs.measures.scoring import Scope
from vhs.measures.taylor import TaylorEstimate


def loss_with(model, images: Tensor, labels: Tensor, layer: int, head: int, share: float) -> float:
    """Summed loss with the head's output multiplied by `share`."""
    place = model.engine.seams[layer]
    projection, axis = place.projection, place.axis
    heads = model.grid.per_layer[layer]

    def scale(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = args[0].clone()
        width = own_features(model, layer, changed.shape[axis]) // heads
        changed.movedim(axis, 0)[head * width : (head + 1) * width] *= share
        return (changed, *args[1:])

    handle = projection.register_forward_pre_hook(scale)
    with torch.inference_mode():
        logits = model.net(model.preprocess(images).double())
    handle.remove()
    return float(nn.functional.cross_entropy(logits, labels, reduction="sum"))


@pytest.mark.parametrize("name", ["fast", "replay", "replay, beside an MLP", "hooks, windows", "hooks, convolutions"])
def test_estimates_are_finite_differences_of_a_scaled_head(name: str) -> None:
    model = MODELS[name]()
    images = pixels_of(model, 4, 1)
    labels = torch.tensor([0, 3, 1, 2])
    folds = torch.tensor([0, 1, 2, 20])  # the last pads
    batch = Batch(images, labels, labels, folds, torch.empty(0, 4, dtype=torch.int64), 3)
    measure = TaylorEstimate(model, Scope.whole(len(model.classes), model.device))
    measure.add(batch)
    found = from_fixed(measure.results()["units"].total("dloss"))
    double, kept = model.net.double(), (images[:3], labels[:3])
    assert double is model.net
    step = 1e-4
    for index, head in list(enumerate(model.grid))[:: 1 if name == "fast" else 4]:
        high, low = (loss_with(model, *kept, head.layer, head.head, 1 + sign * step) for sign in (1, -1))
        assert found[index] == pytest.approx(-(high - low) / (2 * step), rel=2e-3, abs=2e-5)


def test_the_table_of_estimates(vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("ablate", toy_checkpoint, "--shift", "contrast:2", "--method", "taylor", "-o", "t.csv")
    assert code == 0, err
    table = pl.read_csv("t.csv")
    assert table.height == 12 and set(table["method"]) == {"taylor"} and (table["score"] <= table["score_token"]).all()
    assert np.allclose(table["dloss"], (table["dloss_lo"] + table["dloss_hi"]) / 2)
    assert vhs("ablate", toy_checkpoint, "--shift", "contrast:2", "-o", "e.csv")[0] == 0
    assert vhs("plot", "t.csv", "e.csv", "-o", "te.png")[0] == 4, "tables of two kinds"
    assert vhs("compare", "t.csv", "--exact", "e.csv", "-o", "a.csv")[0] == 0
    agreement = pl.read_csv("a.csv")
    exact = pl.read_csv("e.csv").filter((pl.col("unit") == "head") & (pl.col("shift") == "clean"))["dloss"]
    clean = table.filter(pl.col("shift") == "clean")["dloss"]
    from scipy.stats import spearmanr

    assert agreement["r"][0] == pytest.approx(spearmanr(clean, exact)[0])
