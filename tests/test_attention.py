"""Attention measures: known answers, bounds, symmetry."""

import math

import numpy as np
import pytest
import torch

from vhs.measures import attention, divergence, offsets, ratios
from vhs.measures.layer import Layer
from vhs.models.tokens import GLOBAL, WINDOWS, Layout


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
    found = {}
    for later in others:
        stacked = torch.stack([maps[first], maps[later]])
        found[later] = divergence.divergences_from(stacked, attention.row_entropy(stacked), 0)[0]
    return torch.stack([found[later] for later in others])


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


def test_heads_are_compared_with_the_later_ones() -> None:
    maps = random_maps()
    found = divergence.divergences_from(maps, attention.row_entropy(maps), 1)
    assert torch.allclose(found, pair_divergences(maps, 1, [2, 3, 4])) and found.shape == (3, 3)
    assert torch.allclose(divergence.divergence(maps[1], maps[3]), found[1])


# --- independent versions in NumPy, of maps [heads, tokens, tokens] of one image ---
GRIDS = [((3, 5), 0), ((3, 5), 1), ((3, 5), 5), ((4, 4), 2), ((1, 6), 1)]


def some_maps(grid: tuple[int, int], special: int, images: int = 4) -> torch.Tensor:
    torch.manual_seed(grid[0] * 31 + special)
    return torch.randn(images, 3, grid[0] * grid[1] + special, grid[0] * grid[1] + special).mul(2).softmax(-1)


def patches_only(maps: np.ndarray, special: int) -> np.ndarray:
    """Walmer et al.: the class token is dropped from queries and keys, rows are renormalised."""
    cut = maps[..., special:, special:]
    return cut / cut.sum(-1, keepdims=True)


@pytest.mark.parametrize(("grid", "special"), GRIDS)
def test_walmers_measures_by_loops(grid: tuple[int, int], special: int) -> None:
    rows, columns = grid
    maps = some_maps(grid, special)
    layer = layer_of(maps, grid, 7)
    found = {
        q.metric: v.double().numpy()
        for q, v in attention.quantities(layer)
        if q.query == "patches" and q.weighting == "attention"
    }
    down, right = offsets.mean_displacement(layer).double().numpy()
    for image in range(len(maps)):
        for head in range(3):
            a = patches_only(maps[image, head].double().numpy(), special)
            distance, aligned = 0.0, np.zeros((2 * rows - 1, 2 * columns - 1))
            for q in range(rows * columns):
                for k in range(rows * columns):
                    dy, dx = k // columns - q // columns, k % columns - q % columns
                    distance += a[q, k] * 7 * math.hypot(dy, dx) / (rows * columns)
                    aligned[dy + rows - 1, dx + columns - 1] += a[q, k] / (rows * columns)
            deviation = np.mean([np.std([a[q, k] for q in range(len(a))]) for k in range(len(a))])
            entropy = np.mean([-sum(x * math.log(x) for x in row) for row in a])
            assert found["distance_patch"][image, head] == pytest.approx(distance, rel=1e-5)
            assert found["position_deviation"][image, head] == pytest.approx(deviation, abs=1e-6)
            assert found["entropy_patch"][image, head] == pytest.approx(entropy, abs=1e-5)
            ys, xs = np.linspace(-1, 1, 2 * rows - 1), np.linspace(-1, 1, 2 * columns - 1)
            centre = aligned.sum(1) @ ys if rows > 1 else 0.0, aligned.sum(0) @ xs
            assert (down[image, head], right[image, head]) == pytest.approx(centre, abs=1e-6)
            ours = offsets.aligned(layer)[image, head].view(aligned.shape).numpy()
            assert np.allclose(ours, aligned, atol=1e-6)


@pytest.mark.parametrize(("grid", "special"), GRIDS)
def test_parks_nmi_by_loops(grid: tuple[int, int], special: int) -> None:
    maps = some_maps(grid, special)
    found = {q.metric: v.numpy() for q, v in attention.quantities(layer_of(maps, grid)) if q.weighting == "attention"}[
        "nmi"
    ]
    for image in range(len(maps)):
        for head in range(3):
            a = maps[image, head].double().numpy()[special:, special:] + 1e-8
            a /= a.sum(-1, keepdims=True)
            count = len(a)
            joint, of_keys = a / count, a.mean(0)
            information = sum(
                joint[q, k] * math.log(joint[q, k] / (of_keys[k] / count)) for q in range(count) for k in range(count)
            )
            scale = math.sqrt(math.log(count) * -sum(p * math.log(p) for p in of_keys))
            assert found[image, head] == pytest.approx(information / scale, abs=1e-6)


def test_nmi_is_one_for_attention_to_oneself_and_offset_of_looking_aside() -> None:
    shifted = (
        torch.eye(12).view(3, 4, 12).roll(1, 1).view(12, 12)[None, None]
    )  # each patch looks one column on, cyclically
    found = metrics(torch.eye(12)[None, None], (3, 4), 5)
    assert found["nmi", "patches"] == pytest.approx(1, abs=1e-4)
    assert found["self_mass", "patches"] == 1
    sideways = torch.zeros(1, 1, 12, 12)
    for patch in range(12):
        sideways[0, 0, patch, min(patch + 1, patch // 4 * 4 + 3)] = 1
    down, right = offsets.mean_displacement(layer_of(sideways, (3, 4)))
    assert float(down) == 0 and float(right) == pytest.approx(0.75 / 3)  # three of four columns look one of three on
    assert shifted.shape == (1, 1, 12, 12)


def test_a_positional_head_is_one_whose_strongest_key_lies_at_one_displacement() -> None:
    looking_down = torch.full((2, 1, 20, 20), 0.01)
    for patch in range(20):
        looking_down[:, 0, patch, min(patch + 5, 19)] = 1
    layer = layer_of(looking_down / looking_down.sum(-1, keepdim=True), (4, 5))
    counts = offsets.strongest(layer).sum(0).numpy()
    assert counts.sum() == 2 * 2 * 3 and ratios.positional(counts)[0] == 1  # of 2 x 3 interior patches of 2 images
    down, right = 1, 0
    assert counts[0].argmax() == (down + 3) * 9 + right + 4


def test_values_reweigh_what_is_looked_at() -> None:
    """A key whose value is zero is not looked at, however much attention it has."""
    maps = some_maps((3, 5), 1)
    carried = torch.ones(4, 3, 16)
    carried[..., 0] = 0  # the class token brings nothing
    layer = layer_of(maps, (3, 5), carried_RHK=carried)
    found = {(q.metric, q.weighting): v for q, v in attention.quantities(layer)}
    assert found["class_mass", "value"].abs().max() == 0 < found["class_mass", "attention"].min()
    assert torch.allclose(found["distance_patch", "value"], found["distance_patch", "attention"], atol=1e-5)
    assert layer.weighted is not None and torch.allclose(layer.weighted.row_BHN.sum(-1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize(("grid", "special"), GRIDS)
def test_value_weighted_measures_are_those_of_the_weighted_map(grid: tuple[int, int], special: int) -> None:
    """Which is never made: against one that is."""
    maps = some_maps(grid, special)
    tokens = maps.shape[-1]
    carried, residual = torch.rand(4, 3, tokens) + 0.1, torch.randn(4, tokens, 5) ** 3
    layer = layer_of(maps, grid, 7, carried_RHK=carried, residual_BND=residual)
    scaled = maps * carried[:, :, None]
    made = layer_of(scaled / scaled.sum(-1, keepdim=True), grid, 7, residual_BND=residual)
    ours = {q.metric: v for q, v in attention.quantities(layer) if q.weighting == "value"}
    theirs = {q.metric: v for q, v in attention.quantities(made) if q.weighting == "attention"}
    assert {"distance_patch", "self_mass", "sink_mass"} <= set(ours)
    for name, value in ours.items():
        assert torch.allclose(value, theirs[name], rtol=1e-4, atol=1e-6), name
    assert layer.weighted is not None and torch.allclose(layer.weighted.seen_BHP, made.seen_BHP, rtol=1e-4, atol=1e-7)


def test_sinks_are_patches_of_outlying_norm() -> None:
    torch.manual_seed(0)
    residual = torch.randn(2, 16, 8)
    residual[0, 5] *= 30  # the fifth token is patch 4
    maps = torch.zeros(2, 1, 16, 16)
    maps[..., 5] = 0.6
    maps[..., 0] = 0.4
    layer = layer_of(maps, (3, 5), residual_BND=residual)
    assert layer.sinks_BP is not None and layer.sinks_BP[0].nonzero().flatten().tolist() == [4]
    found = {(q.metric, q.query): v for q, v in attention.quantities(layer)}
    assert found["sink_mass", "patches"][0, 0] == pytest.approx(0.6)


def test_windows_are_averaged_within_an_image() -> None:
    torch.manual_seed(0)
    maps = torch.randn(6, 2, 9, 9).softmax(-1)  # 2 images of 3 windows
    layout = Layout(WINDOWS, 9, 9, 3, (), (3, 3), (4.0, 4.0))
    found = dict(attention.quantities(Layer(layout, 2, maps)))
    whole = dict(attention.quantities(Layer(Layout(GLOBAL, 9, 9, 1, (), (3, 3), (4.0, 4.0)), 6, maps)))
    names = {q.metric for q in found}
    assert {q.query for q in found} == {"windows"} and "entropy" in names and "entropy_patch" not in names
    for quantity, value in found.items():
        same = next(v for q, v in whole.items() if q.metric == quantity.metric and q.query in ("all", "patches"))
        assert torch.allclose(value, same.view(2, 3, 2).mean(1)), quantity
