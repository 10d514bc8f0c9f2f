"""Attention measures: known answers, bounds, symmetry."""

import math

import numpy as np
import pytest
import torch

from vhs.measures import attention, divergence
from vhs.measures.observation import Layer
from vhs.models.tokens import GLOBAL, Layout


def layer_of(maps: torch.Tensor, grid: tuple[int, int], patch: float = 1, **more: torch.Tensor) -> Layer:
    """A layer with these maps; the first token before the patches is a class token, the others are registers."""
    extra = maps.shape[-1] - grid[0] * grid[1]
    special = ("class", *["register"] * (extra - 1))[:extra]
    layout = Layout(GLOBAL, maps.shape[-2], maps.shape[-1], 1, special, grid, (patch, patch))
    return Layer(layout, len(maps), maps, **more)


def metrics(maps: torch.Tensor, grid: tuple[int, int], patch: int) -> dict[tuple[str, str], float]:
    found = attention.quantities(layer_of(maps, grid, patch))
    return {(quantity.metric, quantity.query): float(value.mean()) for quantity, value in found}


@pytest.mark.parametrize(("special", "raw"), [(0, 116.49), (1, 115.90), (5, 113.59)])
def test_uniform_attention_has_the_published_distances(special: int, raw: float) -> None:
    keys = 196 + special
    found = metrics(torch.full((2, 3, keys, keys), 1 / keys), (14, 14), 16)
    assert found["distance", "patches"] == pytest.approx(raw, abs=0.005)
    assert found["distance_patch", "patches"] == pytest.approx(116.49, abs=0.005)
    assert found["entropy", "all"] == pytest.approx(math.log(keys), rel=1e-5)
    assert found["entropy_normalised", "all"] == pytest.approx(1, rel=1e-5)
    assert found["distance_ratio", "patches"] == pytest.approx(1, rel=1e-5)
    assert found["entropy_patch_normalised", "patches"] == pytest.approx(1, rel=1e-5)
    assert found["self_mass", "patches"] == pytest.approx(1 / keys) == found["confidence", "all"]
    assert found["nmi", "patches"] == pytest.approx(0, abs=1e-5) == found["position_deviation", "patches"]
    if special:
        assert found["class_mass", "patches"] == pytest.approx(1 / keys)
    if special > 1:
        assert found["register_mass", "patches"] == pytest.approx((special - 1) / keys)


def test_attention_to_oneself_is_no_distance_and_no_entropy() -> None:
    found = metrics(torch.eye(7)[None, None], (2, 3), 5)
    assert found["distance", "patches"] == found["entropy", "all"] == 0


def test_distance_by_hand_on_an_uneven_grid() -> None:
    """Every patch of 2 x 3 looks at the last one, 5 px patches: mean of sqrt(dy² + dx²) * 5."""
    maps = torch.zeros(1, 1, 7, 7)
    maps[..., 6] = 1
    want = np.mean([5 * math.hypot(1 - y, 2 - x) for y in range(2) for x in range(3)])
    assert metrics(maps, (2, 3), 5)["distance", "patches"] == pytest.approx(want, rel=1e-6)


def pair_divergences(maps: torch.Tensor, first: int, others: list[int]) -> torch.Tensor:
    return divergence.pair_divergences(maps, attention.row_entropy(maps), first, others)


def random_maps() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(5, 3, 7, 11).mul(2).softmax(-1)


def test_divergence_is_the_textbook_one() -> None:
    maps = random_maps().double()
    got = pair_divergences(maps, 1, [0, 4])
    for row, other in zip(got, (0, 4), strict=True):
        p, q = maps[1], maps[other]
        middle = (p + q) / 2
        want = ((p * (p / middle).log()).sum(-1) + (q * (q / middle).log()).sum(-1)) / 2
        assert torch.allclose(row, want.mean(-1), atol=1e-9)


def test_divergence_is_symmetric_bounded_and_zero_for_equals() -> None:
    maps = random_maps()
    assert torch.allclose(pair_divergences(maps, 0, [3]), pair_divergences(maps, 3, [0]))
    assert pair_divergences(torch.stack([maps[0], maps[0]]), 0, [1]).abs().max() < 1e-6
    apart = torch.stack([torch.eye(4)[None], torch.eye(4).roll(1, 1)[None]])
    assert pair_divergences(apart, 0, [1]).item() == pytest.approx(math.log(2), rel=1e-5)


def test_pairs_within_groups() -> None:
    assert divergence.pairs([[0, 1, 2], [3], [4, 5]]) == [(0, [1, 2]), (1, [2]), (4, [5])]
