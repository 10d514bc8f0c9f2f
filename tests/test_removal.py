"""Pairs, MLPs, sets, rescaling and other attention against whole passes with the test's own hooks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from tests.naive import replaced_logits
from tests.networks import MODELS, filled, model_of, pixels_of
from vhs.errors import MismatchError, UsageError
from vhs.grid import HeadGrid, Units, named_sets
from vhs.measures.fills import Bank
from vhs.measures.intervals import signed_interval
from vhs.measures.routes import Routes
from vhs.models.engine import zero
from vhs.models.model import Model
from vhs.models.removal import Removal

NAMES = ["fast", "fast, layer scale", "replay", "hooks, windows"]


def swept(model: Model, removal: Removal, images: Tensor, fills: list) -> dict[int, Tensor]:
    """Logits [U, B, C] by position of the fill."""
    found: dict[int, list[Tensor]] = {}
    with torch.inference_mode():
        for index, logits in removal.sweep(model.preprocess(images), 3, fills):
            found.setdefault(index, []).append(logits)
    return {index: torch.cat(parts) for index, parts in found.items()}


def same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() / b.abs().max() < 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_mlp_goes(name: str) -> None:
    model, removal = (found := MODELS[name]()), Removal(found.net, found.engine, Units("mlp"))
    images = pixels_of(model, 3, 1)
    got = swept(model, removal, images, [zero])
    assert len(got[0]) == 1 + model.grid.depth and same(got[0][0], got[-1][0])
    mlps = [module for path, module in model.net.named_modules() if path.endswith(".mlp")]
    for layer, mlp in enumerate(mlps):
        handle = mlp.register_forward_hook(lambda _m, _a, out: out * 0)
        with torch.inference_mode():
            want = model.net(model.preprocess(images))
        handle.remove()
        assert same(got[0][1 + layer], want) and not same(want, got[-1][0])


@pytest.mark.parametrize("name", NAMES)
def test_a_set_over_layers_goes(name: str) -> None:
    model, removal = (found := MODELS[name]()), Removal(found.net, found.engine, named_sets(["0.1,1.0", "1.2"]))
    images = pixels_of(model, 3, 2)
    got = swept(model, removal, images, [zero])[0]
    place = model.engine.seams[0]
    projection, axis = place.projection, place.axis
    width = (
        model.net.get_parameter(
            next(path for path, module in model.net.named_modules() if module is projection) + ".weight"
        ).shape[1]
        // model.grid.per_layer[0]
    )

    def put(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = args[0].clone()
        changed.movedim(axis, 0)[width : 2 * width] = 0
        return (changed, *args[1:])

    handle = projection.register_forward_pre_hook(put)
    want = replaced_logits(model, images, 1, [0], torch.zeros(1))
    handle.remove()
    assert same(got[1], want)
    assert same(got[2], replaced_logits(model, images, 1, [2], torch.zeros(1)))


@pytest.mark.parametrize("unit", ["head", "only"])
@pytest.mark.parametrize("name", NAMES)
def test_kept_heads_are_rescaled(name: str, unit: str) -> None:
    model, removal = (found := MODELS[name]()), Removal(found.net, found.engine, Units(unit), rescale=True)
    images = pixels_of(model, 3, 3)
    got = swept(model, removal, images, [zero])[0]
    for logits, removed in list(zip(got, removal.units, strict=True))[1::3]:
        projection = model.engine.seams[removed.layer].projection
        heads = model.grid.per_layer[removed.layer]
        factor = heads / max(heads - len(removed.removed), 1)
        handle = projection.register_forward_pre_hook(lambda _m, args, f=factor: (args[0] * f, *args[1:]))
        want = replaced_logits(model, images, removed.layer, [head for _, head in removed.removed], torch.zeros(1))
        handle.remove()
        assert same(logits, want), removed


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("fast")])
def test_other_attention_over_the_same_values(name: str) -> None:
    """timm's attention with its softmax replaced by 1 / N, or by the average of the calibration images' maps."""
    model = MODELS[name]()
    calibration, images = pixels_of(model, 4, 4), pixels_of(model, 3, 5)
    removal, bank = Removal(model.net, model.engine), Bank(model, [calibration], maps=True)
    got = swept(model, removal, images, filled(("uniform", "mean-map"), model, bank, images, torch.tensor([1, 2, 3])))
    inputs: list[Tensor] = []
    for block in model.net.blocks:
        block.attn.register_forward_pre_hook(lambda _m, args: inputs.append(args[0].double()))
    with torch.inference_mode():
        model.net(model.preprocess(calibration))
        model.net(model.preprocess(images))
    _compare_spread(model, images, inputs, got)


@torch.no_grad()
def _compare_spread(model: Model, images: Tensor, inputs: list[Tensor], got: dict[int, Tensor]) -> None:
    """inputs: what each attention received, of the calibration images, then of the scored ones."""
    inputs = [part.clone() for part in inputs]
    depth = model.grid.depth
    ours, theirs = inputs[depth : 2 * depth], inputs[:depth]
    for layer, block in enumerate(model.net.blocks):
        attn, heads = block.attn, model.grid.per_layer[layer]

        def parts(tokens: Tensor, attn=attn, heads=heads) -> Tensor:
            qkv = tokens @ attn.qkv.weight.double().T + attn.qkv.bias.double()
            return qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # 3 B H N W

        query, key, _ = parts(theirs[layer])
        shared = (query * attn.scale @ key.transpose(-2, -1)).softmax(-1).mean(0)
        values = parts(ours[layer])[2]
        for index, attention in enumerate((torch.full_like(shared, 1 / shared.shape[-1]), shared)):
            instead = (attention @ values).transpose(1, 2).flatten(2).float()
            for head in range(heads):
                at = 1 + model.grid.first(layer) + head
                assert same(got[index][at], replaced_logits(model, images, layer, [head], instead)), (
                    layer,
                    head,
                    index,
                )


ROUTED = [name for name in MODELS if "beside an MLP" not in name]  # its heads have two maps each


@pytest.mark.parametrize("name", ROUTED)
def test_an_image_that_is_its_own_donor_changes_nothing(name: str) -> None:
    """Of every family: its own maps over its own values are its own outputs; even attention is not."""
    model = MODELS[name]()
    image = pixels_of(model, 1, 6)
    removal, bank = Removal(model.net, model.engine), Bank(model, [image], maps=True)
    fills = filled(("donor-map", "mean-map", "uniform"), model, bank, image, torch.tensor([4]))
    got = swept(model, removal, image, fills)
    for index in (0, 1):
        assert same(got[index], got[-1].expand_as(got[index]))
    assert not same(got[2], got[-1].expand_as(got[2]))


@pytest.mark.parametrize("name", [name for name in ROUTED if "convolutions" not in name])
def test_even_attention_equals_the_fused_call_with_an_even_map(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's own pass with torch's attention exchanged for one that gives a head the mean of its allowed values."""
    import torch.nn.functional as F

    model = MODELS[name]()
    for module in model.net.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = True
    images = pixels_of(model, 2, 7)
    removal = Removal(model.net, model.engine)
    got = swept(model, removal, images, filled(("uniform",), model, None, images, torch.tensor([1, 2])))[0]
    usual, calls = F.scaled_dot_product_attention, [0]
    for at, unit in list(enumerate(removal.units))[1::3]:

        def even(q, k, v, *args, unit=unit, calls=calls, **kwargs):  # type: ignore[no-untyped-def]
            out = usual(q, k, v, *args, **kwargs)
            mask = kwargs.get("attn_mask")
            if calls[0] == unit.layer:
                allowed = torch.ones(q.shape[-2], k.shape[-2]) if mask is None else (mask > -50).float()
                allowed = allowed.expand(*out.shape[:2], *allowed.shape[-2:])
                mean = allowed @ v / allowed.sum(-1, keepdim=True)
                out[:, unit.head] = mean[:, unit.head]
            calls[0] += 1
            return out

        with monkeypatch.context() as patch, torch.inference_mode():
            patch.setattr(F, "scaled_dot_product_attention", even)
            calls[0] = 0
            want = model.net(model.preprocess(images))
        assert calls[0] == model.grid.depth and same(got[at], want), unit


def test_maps_are_not_exchanged_where_something_follows_the_average() -> None:
    with pytest.raises(MismatchError, match=r"blocks\.0\.attn changes what its heads average before the projection"):
        Routes(model_of("norm before the projection"))
    with pytest.raises(MismatchError, match=r"more than one was seen"):
        Routes(MODELS["replay, beside an MLP"]())
    from vhs.models.removal import _mlp_beside

    with pytest.raises(MismatchError, match="no module mlp or ffn beside"):
        _mlp_beside(nn.Sequential(nn.Identity(), nn.Sequential()), "1.attn")


def test_sets_are_read() -> None:
    assert (
        named_sets(["3.1,5.0", "2.0"]).sets == named_sets(["L3H1+L5H0", "L2H0"]).sets == (((3, 1), (5, 0)), ((2, 0),))
    )
    for wrong in ("3", "3.1+", "a.b", "1.2.3", "-1.0"):
        with pytest.raises(UsageError, match="expected heads like L3H1"):
            named_sets([wrong])
    with pytest.raises(MismatchError, match=r"no head L2H0: the model has layers 0 to 1 of 2 to 3 heads"):
        list(HeadGrid((2, 3)).units(named_sets(["2.0"])))


def test_an_interval_of_whole_numbers_covers() -> None:
    """Of pairs' interactions: -2 to 2, mostly 0."""
    rng = np.random.default_rng(0)
    chances = [0.002, 0.01, 0.97, 0.015, 0.003]
    mean = np.dot(np.arange(-2, 3), chances)
    drawn = rng.choice(np.arange(-2, 3), (4000, 500), p=chances)
    lo, hi = signed_interval(drawn.sum(1), (drawn**2).sum(1), 500)
    assert 0.935 < ((lo <= mean) & (mean <= hi)).mean() < 0.985


def test_pairs_from_the_command_line(vhs, toy_checkpoint: Path) -> None:
    code, _, err = vhs("ablate", toy_checkpoint, "--unit", "pair", "-o", "p.csv", "--per-sample", "s.parquet")
    assert code == 0, err
    assert "3 pairs within layers beside 6 heads, 1.5 times" in err
    table = pl.read_csv("p.csv")
    drop = {row["heads"]: row["drop"] for row in table.iter_rows(named=True)}
    pairs = table.filter(pl.col("unit") == "pair")
    assert pairs.height == 3 and pairs["layer_b"].to_list() == pairs["layer"].to_list() == [0, 1, 2]
    for row in pairs.iter_rows(named=True):
        a, b = row["heads"].split("+")
        assert np.isclose(row["score"], row["drop"] - drop[a] - drop[b])
        assert row["score_lo"] < row["score"] < row["score_hi"]
    assert "pairL0H0+L0H1" in pl.read_parquet("s.parquet")["units"][0]


def test_mlps_sets_and_rescaling_from_the_command_line(vhs, toy_checkpoint: Path) -> None:
    assert vhs("ablate", toy_checkpoint, "-o", "heads.csv")[0] == 0
    code, _, err = vhs("ablate", toy_checkpoint, "--unit", "mlp", "-o", "m.csv")
    assert code == 0, err
    table = pl.read_csv("m.csv")
    assert table["unit"].to_list() == ["none", "mlp", "mlp", "mlp"] and table["layer"].to_list() == [None, 0, 1, 2]
    assert table["n_lost"].sum() > 0
    code, _, err = vhs("ablate", toy_checkpoint, "--select", "1.0", "--select", "0.1,2.0", "-o", "s.csv")
    assert code == 0, err
    table, heads = pl.read_csv("s.csv"), pl.read_csv("heads.csv", schema_overrides={"heads": pl.String})
    assert table["unit"].to_list() == ["none", "set", "set"] and table["heads"][2] == "L0H1+L2H0"
    assert table["n_correct"][1] == heads.filter(pl.col("heads") == "L1H0")["n_correct"].item()
    code, _, err = vhs("ablate", toy_checkpoint, "--rescale", "-o", "r.csv")
    assert code == 0 and set(pl.read_csv("r.csv")["rescale"]) == {"H/kept"}
    for options, told in {
        ("--rescale", "--fill", "mean"): "--rescale: ",
        ("--unit", "mlp", "--fill", "mean"): "--unit mlp: ",
        ("--select", "0.0", "--unit", "pair"): "--select: ",
        ("--select", "head 3"): "expected heads like L3H1,L5H0 or 3.1,5.0",
    }.items():
        code, _, err = vhs("ablate", toy_checkpoint, *options)
        assert code == 2 and told in err, options
    code, _, err = vhs("ablate", toy_checkpoint, "--select", "0.7")
    assert code == 4 and "there is no head L0H7" in err
