"""What heads write: norms, ranks and alignment through W x W roots, against the D x D matrices themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.networks import MODELS, batch_for, model_of
from vhs.measures import alignment, arrangement, ratios
from vhs.measures.direct import DirectEstimate, direct_scores
from vhs.measures.observation import Observer
from vhs.measures.scoring import Scope
from vhs.models import circuits


def observed(name: str):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = MODELS[name]() if name in MODELS else model_of(name)
    size = model.preprocess
    pixels = torch.randn(3, size.channels, size.height, size.width)
    observer = Observer(model)
    return model, observer, pixels, observer.see(pixels)


@pytest.mark.parametrize("name", ["fast", "fast, layer scale", "replay", "hooks, windows"])
def test_roots_have_the_norms_of_what_is_written(name: str) -> None:
    model, _, pixels, seen = observed(name)
    received: list[torch.Tensor] = []
    seam = model.engine.seams[1]
    handle = seam.projection.register_forward_pre_hook(lambda _m, args: received.append(args[0]))
    with torch.no_grad():
        model.net(pixels)
    handle.remove()
    matrices = circuits.output_matrices(model.net, seam)
    assert matrices is not None
    heads = seam.by_head(received[0])
    written = torch.einsum("...hw,hdw->...hd", heads, matrices)
    ours = seen.layers[1].written_BTHW
    assert ours is not None
    assert torch.allclose(ours.norm(dim=-1).flatten(), written.norm(dim=-1).flatten(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["fast", "fast, layer scale"])
def test_what_all_heads_write_is_the_modules_output(name: str) -> None:
    """Head by head through `output_matrices`, plus the bias, is what the block adds to the residual stream."""
    model, _, pixels, _ = observed(name)
    block = model.net.blocks[1]
    received, given = [], []
    first = block.attn.proj.register_forward_pre_hook(lambda _m, args: received.append(args[0]))
    second = getattr(block, "ls1", block.attn).register_forward_hook(lambda _m, _a, output: given.append(output))
    with torch.no_grad():
        model.net(pixels)
    first.remove()
    second.remove()
    seam = model.engine.seams[1]
    written = torch.einsum("bnhw,hdw->bnd", seam.by_head(received[0]), circuits.output_matrices(model.net, seam))
    apart = given[0] - written
    assert torch.allclose(apart, apart[:1, :1].expand_as(apart), atol=1e-4)  # the bias alone is left


@pytest.mark.parametrize("name", ["fast", "average pool", "registers", "no qkv bias"])
def test_ranks_of_circuits_are_those_of_the_whole_matrices(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]() if name in MODELS else relatives(name)
    observer = Observer(model)
    for layer, block in enumerate(model.net.blocks):
        heads, width = block.attn.num_heads, block.attn.head_dim
        q, k, v = block.attn.qkv.weight.detach().double().chunk(3)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            out = block.attn.proj.weight.detach().double()[:, part] @ v[part]
            assert observer.ranks[layer]["rank_vo"][head] == pytest.approx(rank(out), rel=1e-3)
            assert observer.ranks[layer]["rank_qk"][head] == pytest.approx(rank(q[part].T @ k[part]), rel=1e-3)


def relatives(name: str):  # type: ignore[no-untyped-def]
    return model_of(name)


def rank(matrix: torch.Tensor) -> float:
    singular = np.linalg.svd(matrix.numpy(), compute_uv=False)
    share = singular / singular.sum()
    share = share[share > 1e-12]
    return float(np.exp(-(share * np.log(share)).sum()))


def test_ranks_are_left_out_where_a_matrix_is_not_the_whole_score() -> None:
    assert "rank_qk" not in Observer(MODELS["replay"]()).ranks[0]  # EVA: rotary positions
    assert "rank_qk" not in Observer(model_of("qk norm")).ranks[0]
    assert "rank_vo" not in Observer(model_of("norm before the projection")).ranks[0]


def test_effective_rank_of_known_matrices() -> None:
    equal = torch.eye(5, dtype=torch.float64) * 9
    assert circuits.effective_rank(equal) == pytest.approx(5)
    single = torch.zeros(5, 5, dtype=torch.float64)
    assert circuits.effective_rank(single) == 0
    single[2, 2] = 4
    assert circuits.effective_rank(single) == pytest.approx(1)


def unbiased_hsic(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. 2012, as it is written there."""
    count = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(count)
    total = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((count - 1) * (count - 2))
    return float((total - 2 / (count - 2) * one @ k @ m @ one) / (count * (count - 3)))


def test_alignment_is_the_textbook_one() -> None:
    torch.manual_seed(0)
    written = torch.randn(4, 9, 3, 5)
    written[:, :, 1] = written[:, :, 0] @ torch.linalg.qr(torch.randn(5, 5))[0] * 3  # turned and larger: the same
    got = alignment.similarities(written)
    for image in range(4):
        kernels = [written[image, :, head].double().numpy() for head in range(3)]
        kernels = [(x - x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).mean()) for x in kernels]
        want = [[unbiased_hsic(a @ a.T, b @ b.T) for b in kernels] for a in kernels]
        assert np.allclose(got[image], want, rtol=1e-4, atol=1e-3)
    pairs = alignment.upper(got, [(0, 1), (0, 2)])
    value = ratios.cka({name: part.double().numpy().sum(-1) for name, part in pairs.items()})
    assert value[0] == pytest.approx(1, abs=1e-5) and abs(value[1]) < 0.5


def test_a_large_common_part_takes_no_digits_of_the_alignment() -> None:
    """Outputs are mostly what all tokens share; the estimate does not see that, and float32 must not either."""
    torch.manual_seed(0)
    varying = torch.randn(6, 50, 2, 8)
    varying[:, :, 1] += varying[:, :, 0]
    got = alignment.similarities(varying + 300.0)
    want = alignment.similarities(varying.double())
    assert torch.allclose(got.double(), want, rtol=1e-2)


def test_parallel_blocks_have_their_layer_scale() -> None:
    import timm

    net = timm.create_model("vit_small_patch16_18x2_224", img_size=32, depth=1, num_classes=3, init_values=1e-5).eval()
    from vhs.models.engine import engine_of

    seam = engine_of(net, (3, 32, 32)).seams[0]
    matrices = circuits.output_matrices(net, seam)
    assert matrices is not None and matrices.norm() < 1e-3


def test_direct_scores_are_those_of_the_estimate() -> None:
    model, observer, _, _ = observed("fast")
    batch = batch_for(model, 16)
    scope = Scope.whole(13, torch.device("cpu"))
    estimate = DirectEstimate(model, scope)
    estimate.add(batch)
    want = estimate.results()["units"]
    with torch.inference_mode():
        seen = observer.see(model.preprocess(batch.images_BCHW))
        scores = direct_scores(seen, model, scope.views[0], batch)
    assert scores is not None
    assert np.allclose(scores.mean(1), want.total_float("score") / want.total("n"), atol=1e-5)


def test_heads_in_a_plane_keep_their_distances() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((9, 2)) * (3, 1)
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    found = arrangement.plane(distances)
    assert np.allclose(np.linalg.norm(found[:, None] - found[None], axis=-1), distances)
    assert found[:, 0].var() > found[:, 1].var()


def test_clusters_and_order_find_groups() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([0, 1, 0, 2, 1, 0, 2, 0])
    points = np.array([[0, 0], [5, 0], [0, 9]])[truth] + rng.standard_normal((8, 2)) * 0.2
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    found = arrangement.clusters(distances)
    assert all(len(set(found[truth == group])) == 1 for group in range(3)) and found.max() == 2
    assert found[0] == 0  # the largest comes first
    places = arrangement.order(distances)
    assert sorted(places) == list(range(8))
    for group in range(3):
        inside = np.sort(places[truth == group])
        assert (np.diff(inside) == 1).all()


def test_heads_that_are_all_alike_are_one_cluster() -> None:
    assert (
        arrangement.clusters(np.zeros((5, 5))).tolist() == [0] * 5 and (arrangement.plane(np.zeros((5, 5))) == 0).all()
    )


def test_three_heads_are_clustered_too() -> None:
    distances = np.array([[0, 1, 5], [1, 0, 5], [5, 5, 0.0]])
    assert arrangement.clusters(distances).tolist() == [0, 0, 1]
