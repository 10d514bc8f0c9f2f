"""Matched heads: noise matches nothing, a positional head matches across images, a permutation of heads is recovered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.networks import MODELS, batch_for, model_of, other
from vhs.counts import Counts
from vhs.errors import MismatchError
from vhs.grid import HeadGrid
from vhs.measures import divergence
from vhs.measures.layer import Layer
from vhs.measures.listing import Facing, Matchings
from vhs.measures.matching import FIELDS, LN2, Matching, _similarities
from vhs.measures.scoring import Scope, Tally, moments
from vhs.models.model import Model
from vhs.models.tokens import Layout
from vhs.roles import matches
from vhs.seeds import FOLDS


def permuted(model: Model, layer: int, order: list[int]) -> Model:
    """The same network with the heads of a layer in another order."""
    import copy

    net = copy.deepcopy(model.net)
    attn = net.blocks[layer].attn
    width = attn.head_dim
    rows = torch.cat([torch.arange(width) + head * width for head in order])
    with torch.no_grad():
        whole = torch.cat([rows + part * len(rows) for part in range(3)])
        attn.qkv.weight.copy_(attn.qkv.weight[whole])
        if attn.qkv.bias is not None:
            attn.qkv.bias.copy_(attn.qkv.bias[whole])
        attn.proj.weight.copy_(attn.proj.weight[:, rows])
    return replace(model, net=net, name="permuted")


def test_a_permutation_of_heads_is_recovered() -> None:
    model = model_of("registers")
    order = [3, 0, 6, 1, 5, 2, 4]
    other = permuted(model, 1, order)
    pixels = model.preprocess(batch_for(model, 4).images_BCHW)
    with torch.inference_mode():
        assert torch.allclose(model.net(pixels), other.net(pixels), atol=1e-4)
    measure = Matching(model, other)
    measure.add(batch_for(model, 60))
    table = pl.DataFrame(matches.rows(measure.listing, measure.results()["pairs"]))
    moved = table.filter(pl.col("layer") == 1)
    assert [order[match] for match in moved["head_b"]] == moved["head"].to_list()
    assert np.allclose(table["similarity"], 1, atol=1e-5) and (table["head_b"].is_not_null()).all()
    assert table.filter(pl.col("layer") != 1)["head_b"].to_list() == list(range(7)) * 2


def test_similarity_is_one_less_divergence_over_its_largest() -> None:
    a, b = (torch.rand(5, heads, 4, 6).softmax(-1) for heads in (2, 3))
    layer = Layer(Layout("global", 4, 6), 5, a)
    found = _similarities(layer, b)
    want = torch.stack([1 - divergence.divergence(a[:, i], b[:, j]) / LN2 for i in range(2) for j in range(3)])
    assert torch.allclose(found, want, atol=1e-6)
    assert torch.allclose(_similarities(layer, a)[[0, 3]], torch.ones(2, 5), atol=1e-6)


def planted(rng: np.random.Generator, images: int, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps [B, H, Q, K] of a layer of four heads of two models: noise that knows nothing of the image; or with head 0 of
    the one and head 2 of the other looking at a place, or at a thing that lies elsewhere in every image."""
    a, b = (torch.from_numpy(rng.random((images, 4, 5, 9))) ** 4 for _ in range(2))
    if kind == "place":
        a[:, 0, :, 3] += 8
        b[:, 2, :, 3] += 8
    elif kind == "thing":
        place = torch.from_numpy(rng.integers(0, 9, images))
        for maps, head in ((a, 0), (b, 2)):
            maps[torch.arange(images), head, :, place] += 8
    return a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True)


ONE_LAYER = Matchings(HeadGrid((4,)), HeadGrid((4,)), (Facing(0, 0, 0),))


def scored(rng: np.random.Generator, kind: str, images: int = 200) -> pl.DataFrame:
    a, b = planted(rng, images, kind)
    layer = Layer(Layout("global", 5, 9), images, a)
    tally = Tally((16,), FIELDS, torch.device("cpu"))
    across = moments(_similarities(layer, b.roll(1, 0)), ("n_across", "across", "across_sq"))
    tally.add(torch.from_numpy(rng.integers(0, FOLDS, images)), moments(_similarities(layer, b)) | across)
    return pl.DataFrame(matches.rows(ONE_LAYER, tally.counts()))


def test_noise_matches_nothing_a_place_any_image_and_a_thing_its_own() -> None:
    rng = np.random.default_rng(0)
    hits = {"specific": 0, "above": 0}
    for _ in range(60):
        table = scored(rng, "noise", 80)
        for name in hits:
            hits[name] += int((table[f"q_{name}"] < 0.05).any())
    assert max(hits.values()) / 60 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60), hits
    place, thing = scored(rng, "place"), scored(rng, "thing")
    for table in (place, thing):
        row = table.filter(pl.col("head") == 0).row(0, named=True)
        assert row["head_b"] == 2 and row["q_above"] < 0.01 and row["above_lo"] > 0
    assert place["q_specific"][0] > 0.05 and thing["q_specific"][0] < 0.01
    assert place["across"][0] > 0.9 * place["similarity"][0] and thing["across"][0] < 0.8 * thing["similarity"][0]


def test_assignment_on_the_scored_half_would_flatter_noise() -> None:
    """The trap: heads of noise matched and scored on the same images are more alike than random partners."""
    rng, same, other = np.random.default_rng(1), [], []
    for _ in range(60):
        table = scored(rng, "noise", 40)
        other.append((table["similarity"] - table["random"]).mean())
        a, b = planted(rng, 20, "noise")
        whole = _similarities(Layer(Layout("global", 5, 9), 20, a), b).mean(1).view(4, 4).numpy()
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(-whole)
        same.append(whole[rows, columns].mean() - whole.mean())
    assert abs(np.mean(other)) < 2.5 * np.std(other) / np.sqrt(60) and np.mean(same) > 5 * np.std(same) / np.sqrt(60)


def test_more_heads_on_one_side_are_left_over_and_other_tokens_are_refused() -> None:
    model = model_of("registers")
    few = model_of("registers")
    few = replace(few, net=_with_heads(few, 5), name="few")
    measure = Matching(model, few)
    measure.add(batch_for(model, 50))
    table = pl.DataFrame(matches.rows(measure.listing, measure.results()["pairs"]))
    assert table.height == 21 and table["similarity"].null_count() == 0
    left = table.filter(pl.col("assigned") == "no")
    assert left.height == 6 and left["layer"].to_list() == [0, 0, 1, 1, 2, 2]  # each with what it is most like
    assert (left["layer"] == left["layer_b"]).all() and left["q_above"].null_count() == 0
    back = Matching(few, model)
    back.add(batch_for(model, 50))
    table = pl.DataFrame(matches.rows(back.listing, back.results()["pairs"]))
    left = table.filter(pl.col("assigned") == "no")
    assert table.height == 21 and left.height == 6 and table["layer"].null_count() == table["layer_b"].null_count() == 0
    assert left["head_b"].is_in([5, 6]).all()  # those of the other model that have no head of the same
    shared = Matching(model, model_of("class token"))  # registers are left out
    shared.add(batch_for(model, 8))
    values = shared.results()["pairs"].total_float("value") / 8
    assert 0 < values.min() < values.max() < 1
    with pytest.raises(MismatchError, match="attends between other tokens"):
        Matching(
            MODELS["hooks, windows"](), other("vit_tiny_patch16_224", {"img_size": 56, "depth": 2, "patch_size": 8}, 56)
        )


def test_maps_are_told_apart_by_who_answers_right() -> None:
    """Every image in one cell, by either model's own answers; together the cells give the divergence over all."""
    import copy

    model = MODELS["fast"]()
    second = replace(model, net=copy.deepcopy(model.net))
    with torch.no_grad():
        second.net.head.bias.add_(torch.randn(13, generator=torch.Generator().manual_seed(1)))
        second.net.blocks[0].attn.qkv.weight.mul_(1.3)
    batch = batch_for(model, 90)
    answers = [each.net(each.preprocess(batch.images_BCHW)).argmax(1) for each in (model, second)]
    labels = torch.stack([*answers, (answers[0] + 1) % 13])[torch.arange(90) % 3, torch.arange(90)]
    batch = replace(batch, labels_B=labels)
    measure = Matching(model, second, Scope.whole(13, torch.device("cpu")))
    measure.add(batch)
    found = measure.results()
    right = [(answer == labels).numpy() for answer in answers]
    counts = found["cells"].total("n")
    want = [
        sum((~right[0]) & ~right[1]),
        sum(right[0] & ~right[1]),
        sum(~right[0] & right[1]),
        sum(right[0] & right[1]),
    ]
    assert [set(row) for row in counts.tolist()] == [{int(number)} for number in want] and min(want) > 0
    whole = found["cells"].total_float("value").sum(0) / 90
    assert np.allclose(whole, (1 - found["pairs"].total_float("value") / 90) * LN2, atol=1e-6)
    table = pl.DataFrame(matches.rows(measure.listing, found["pairs"], found["cells"]))
    assert table["n_both"].unique().to_list() == [want[3]] and (table["jsd_other_lo"] <= table["jsd_other"]).all()
    assert Matching(model, second).results()["cells"].total("n").max() == 0


def _with_heads(model: Model, heads: int) -> torch.nn.Module:
    import copy

    net = copy.deepcopy(model.net)
    for block in net.blocks:
        attn = block.attn
        width = heads * attn.head_dim
        whole = torch.cat([torch.arange(width) + part * attn.attn_dim for part in range(3)])
        qkv = torch.nn.Linear(attn.qkv.in_features, 3 * width, bias=attn.qkv.bias is not None)
        with torch.no_grad():
            qkv.weight.copy_(attn.qkv.weight[whole])
            if attn.qkv.bias is not None:
                qkv.bias.copy_(attn.qkv.bias[whole])
            proj = torch.nn.Linear(width, attn.proj.out_features)
            proj.weight.copy_(attn.proj.weight[:, :width])
        attn.qkv, attn.proj, attn.num_heads, attn.attn_dim = qkv, proj, heads, width
    return net


def test_matches_from_the_command_line_and_python(toy_checkpoint: Path, vhs) -> None:
    import vhs as library

    options = ("specialize", toy_checkpoint, "--against", toy_checkpoint, "--shift", "fog:3")
    code, _, err = vhs(*options, "-o", "m.csv")
    assert code == 0, err
    table = pl.read_csv("m.csv")
    assert table.height == 2 * 6 and (table["head_b"] == table["head"]).all() and table["similarity"].min() > 0.999
    frame = library.match(toy_checkpoint, toy_checkpoint, shift="fog:3", quiet=True)
    assert frame.height == 12 and np.allclose(frame["specific"], table["specific"])
    assert vhs("plot", "m.csv", "-o", "m.png")[0] == 0
    code, out, err = vhs("info", "--say", "m.csv")
    assert code == 0 and "6 heads" in out and "0.000 nats where both answer right (" in out, err
    code, _, err = vhs(*options, "--regions")
    assert code == 2 and "--regions: is of the table, which --against stands for. Run them apart." in err


def test_a_fold_left_out_is_left_out() -> None:
    rng = np.random.default_rng(3)
    sums = rng.integers(1, 50, (3, 10, len(FIELDS)))
    whole, left = matches._left_out(Counts(sums, FIELDS), "")
    assert np.allclose(left[4], (sums[..., 1].sum(1) - sums[:, 4, 1]) / 2**24 / (sums[..., 0].sum(1) - sums[:, 4, 0]))
    assert np.allclose(whole, sums[..., 1].sum(1) / 2**24 / sums[..., 0].sum(1))
