"""How differently heads of a layer answer: by what they give the logits, and by the directions of their input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.naive import as_the_source_does
from tests.networks import SMALL, batch_for, model_of, randomised
from vhs.grid import HeadGrid
from vhs.measures.direct import direct_logits
from vhs.measures.diverse_heads import Disagreement, GradientOverlap, in_layers
from vhs.measures.observation import Observer
from vhs.models.building import build
from vhs.models.model import Model
from vhs.models.spec import ViTSpec


def bare() -> Model:
    """As in DiverseViT: the last attention has no residual."""
    model = model_of("class token")
    spec = ViTSpec(**SMALL, last_residual=False)
    return replace(model, net=randomised(build(spec)).requires_grad_(False), name="bare", classes=("x",) * 7)


def test_pairs_are_of_one_layer() -> None:
    assert in_layers(HeadGrid((2, 1, 3))) == [(0, 1), (3, 4), (3, 5), (4, 5)]


def test_disagreement_is_the_share_of_images_named_differently() -> None:
    given = torch.zeros(3, 8, 4)
    answers = np.array([[0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 3, 0, 1, 3, 2], [1, 1, 1, 1, 1, 1, 1, 1]])
    for head in range(3):
        given[head, torch.arange(8), torch.from_numpy(answers[head])] = 1
    measure = Disagreement(HeadGrid((3,)), torch.device("cpu"))
    measure.add(given, torch.arange(8))
    counts = measure.counts()["disagreement"]
    assert (counts.total_float("value") / counts.total("n")).tolist() == [2 / 8, 6 / 8, 6 / 8]
    unknown = Disagreement(HeadGrid((3,)), torch.device("cpu"))
    unknown.add(given.masked_fill(torch.arange(3)[:, None, None] == 2, torch.nan), torch.arange(8))
    assert unknown.counts()["disagreement"].total("n").tolist() == [8, 0, 0]


@pytest.mark.parametrize("kind", ["class token", "registers", "bare"])
def test_gradients_are_those_that_the_source_compares_on_every_image(kind: str) -> None:
    model = bare() if kind == "bare" else replace(model_of(kind), net=model_of(kind).net.requires_grad_(False))
    batch = batch_for(model, 5)
    measure = GradientOverlap(model)
    with torch.inference_mode():  # as in the sweep
        measure.add(batch.images_BCHW, batch.folds_B)
    counts = measure.counts()["gradients"]
    got = counts.total_float("value") / counts.total("n")
    pixels, width = model.preprocess(batch.images_BCHW), model.net.embed_dim
    want = []
    for layer, heads in enumerate(model.grid.per_layer):
        net = model.net.requires_grad_(True)
        found = as_the_source_does(net, pixels, layer).double()
        unit = found / found.norm(dim=-1, keepdim=True)
        for a in range(heads):
            for b in range(a + 1, heads):
                want.append(width * (unit[:, a] * unit[:, b]).sum(-1).square().mean().item())
    assert got == pytest.approx(want, rel=1e-3)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.net.modules())


def test_heads_behind_the_last_bare_attention_have_a_direct_way_and_others_none() -> None:
    """Their parts, the bias and what the MLP adds make the logits again."""
    model = bare()
    pixels = model.preprocess(batch_for(model, 4).images_BCHW)
    seen = Observer(model).see(pixels)
    assert direct_logits(model, seen.heads, seen.residual_BND) is None
    given = direct_logits(model, seen.heads, seen.residual_BND, partly=True)
    assert given is not None and given[:6].isnan().all() and given[6:].isfinite().all()
    net = model.net
    kept: list[torch.Tensor] = []
    handle = net.blocks[-1].mlp.register_forward_hook(lambda _m, _a, out: kept.append(out))
    with torch.no_grad():
        logits = net(pixels)
    handle.remove()
    residual = seen.residual_BND[:, 0]
    scale = (residual.var(-1, correction=0) + net.norm.eps).rsqrt()[:, None]
    rest = net.blocks[-1].attn.proj.bias + kept[0][:, 0]
    others = ((rest - residual.mean(-1, keepdim=True)) * scale * net.norm.weight + net.norm.bias) @ net.head.weight.T
    centred = given[6:].sum(0) + others + net.head.bias
    assert torch.allclose(centred, logits, atol=1e-3 * logits.abs().max())


def test_from_the_command_line_and_python(toy_checkpoint: Path, vhs) -> None:
    import vhs as library

    code, _, err = vhs("specialize", toy_checkpoint, "--gradients", "--within-layer", "--pairs", "p.csv", "-o", "h.csv")
    assert code == 0, err
    table = pl.read_csv("p.csv").filter(pl.col("metric") == "gradients")
    assert table.height == 3 and (table["value"] > 0).all() and (table["lo"] < table["value"]).all()
    found = library.specialize(toy_checkpoint, gradients=True, within_layer=True, quiet=True).pairs
    assert np.allclose(found.filter(pl.col("metric") == "gradients")["value"], table["value"])
    code, _, err = vhs("specialize", toy_checkpoint, "--against", toy_checkpoint, "--gradients")
    assert code == 2 and "--gradients: is of the table, which --against stands for" in err
