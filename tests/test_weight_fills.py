"""What heads leave behind in the weights: a fill against masked networks, least squares done by others, and known answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.networks import SPECS, model_of
from vhs.errors import MismatchError
from vhs.grid import Place, Units
from vhs.measures.fills import Bank
from vhs.measures.pruning_options import WeightFill
from vhs.measures.weight_fills import Calibration, Pruner
from vhs.models import seam
from vhs.models.model import Model
from vhs.models.removal import Removal

GONE: Sequence[Place] = ((0, 1), (0, 4), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5), (2, 6))
"""Some of two layers, all of the third."""


def images(count: int, seed: int) -> Tensor:
    return torch.randint(0, 256, (count, 1, 33, 22), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def pruner(model: Model, fill: WeightFill, count: int = 24) -> Pruner:
    return Pruner(model, fill, Calibration(model, images(count, 1).split(8)))


def answers(model: Model, net: torch.nn.Module) -> Tensor:
    with torch.inference_mode():
        return net(model.preprocess(images(5, 2)))


def masked(model: Model) -> Tensor:
    fill = Bank(model, images(24, 1).split(8)).mean(flat=True)
    removal = Removal(model.net, model.engine, Units("set", (tuple(GONE),)))
    with torch.inference_mode(), removal.without(removal.units[-1], fill):
        return model.net(model.preprocess(images(5, 2)))


@pytest.mark.parametrize("name", ["class token", "registers", "layer scale", "qk norm"])
def test_a_mean_is_the_fill_of_the_same_name(name: str) -> None:
    model = model_of(name)
    folded = answers(model, pruner(model, WeightFill("mean-flat")).without(GONE))
    intact = answers(model, model.net)
    assert torch.allclose(folded, masked(model), atol=1e-5 * float(intact.abs().max()))


def test_an_infinite_ridge_leaves_the_mean() -> None:
    model = model_of("class token")
    wide, mean = (
        pruner(model, fill).without(GONE) for fill in (WeightFill("compensate", 1e5), WeightFill("mean-flat"))
    )
    apart = (answers(model, wide) - answers(model, mean)).abs().max()
    assert apart < 1e-3 * answers(model, mean).abs().max()


def test_compensation_is_ridge_regression() -> None:
    """By the normal equations of all tokens, solved by NumPy's least squares on stacked rows."""
    model, ridge = model_of("class token"), 0.05
    calibration = Calibration(model, images(24, 1).split(8))
    net = Pruner(model, WeightFill("compensate", ridge), calibration).without([(1, 0), (1, 3)])
    block = seam.blocks(model.plain)[1]  # type: ignore[arg-type]
    kept: list[Tensor] = []
    handle = seam.projection(block).register_forward_pre_hook(lambda _m, args: kept.append(args[0].flatten(0, 1)))
    with torch.inference_mode():
        model.net(model.preprocess(images(24, 1)))
    handle.remove()
    tokens = kept[0].double().numpy()
    heads = np.arange(35) // 5
    stay, go = tokens[:, ~np.isin(heads, (0, 3))], tokens[:, np.isin(heads, (0, 3))]
    centred, goal = stay - stay.mean(0), go - go.mean(0)
    damping = np.sqrt(ridge * centred.var(0).mean() * len(tokens)) * np.eye(centred.shape[1])
    told, *_ = np.linalg.lstsq(np.vstack([centred, damping]), np.vstack([goal, np.zeros((25, 10))]), rcond=None)
    weight = seam.projection(block).weight.detach().double().numpy()
    of_kept, of_gone = weight[:, ~np.isin(heads, (0, 3))], weight[:, np.isin(heads, (0, 3))]
    got = net.blocks[1].attn.proj  # type: ignore[union-attr, index]
    assert np.allclose(got.weight.detach().numpy(), of_kept + of_gone @ told.T, atol=1e-5)
    bias = seam.projection(block).bias.detach().numpy() + of_gone @ (go.mean(0) - stay.mean(0) @ told)
    assert np.allclose(got.bias.detach().numpy(), bias, atol=1e-5)


def test_a_head_that_others_tell_is_not_missed() -> None:
    """Two heads that are twins: one stands in for both, exactly."""
    model = model_of("class token")
    attn = seam.attention(seam.blocks(model.plain)[1])  # type: ignore[arg-type]
    with torch.no_grad():
        rows = attn.qkv.weight.view(3, 7, 5, -1), attn.qkv.bias.view(3, 7, 5)
        for part in rows:
            part[:, 4] = part[:, 2]
    intact = answers(model, model.net)
    scale = float(intact.abs().max())
    told = answers(model, pruner(model, WeightFill("compensate", 1e-9)).without([(1, 4)]))
    mean = answers(model, pruner(model, WeightFill("mean-flat")).without([(1, 4)]))
    assert float((told - intact).abs().max()) < 1e-4 * scale < 0.02 * float((mean - intact).abs().max())


def test_layers_that_networks_share_are_made_once() -> None:
    model = model_of("class token")
    made = Pruner(model)
    first, second = made.without([(0, 1), (1, 2)]), made.without([(0, 1), (2, 2)])
    assert first.blocks[0].attn is second.blocks[0].attn  # type: ignore[union-attr, index]
    assert first.blocks[1].attn is not second.blocks[1].attn  # type: ignore[union-attr, index]
    assert first.head.weight is model.net.head.weight  # type: ignore[union-attr]
    assert len(made.heads) == SPECS["class token"].depth * 7


def test_what_cannot_be_taken_out_is_told() -> None:
    with pytest.raises(
        MismatchError, match=r"no head of it can be taken out: blocks\.0\.attn has a norm over all its heads"
    ):
        Pruner(model_of("norm before the projection"))
