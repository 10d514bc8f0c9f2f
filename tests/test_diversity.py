"""Head diversity: gradients head by head as the source takes them, the regulariser beside loops, finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.naive import as_the_source_does
from tests.networks import SMALL, randomised
from vhs.errors import UsageError
from vhs.measures import head_gradients
from vhs.models import seam
from vhs.models.building import build
from vhs.models.spec import ViTSpec
from vhs.models.taps import Tapped
from vhs.training import diversity

BARE = ViTSpec(**SMALL, last_residual=False)
KINDS = {
    "as in the source": BARE, "an ordinary last block": ViTSpec(**SMALL), "average pooling": ViTSpec(**SMALL, pool="avg"),
    "norms of queries and keys": ViTSpec(**SMALL, qk_norm=True), "locality": ViTSpec(**SMALL, lsa=True),
}  # fmt: skip


def double(spec: ViTSpec) -> nn.Module:
    net = randomised(build(spec)).double()
    for parameter in net.parameters():
        with torch.no_grad():
            parameter.mul_(0.5)
    diversity.differentiable_twice(net, 0)
    return net


def pixels(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 33, 22, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def ours(
    net: nn.Module, images: Tensor, layers: list[int], *, again: bool = False
) -> tuple[list[Tensor], Tensor, dict]:
    logits, seen = Tapped(net, head_gradients.taps(layers))(images)
    return head_gradients.directions(net, logits, seen, layers, again=again), logits, seen


@pytest.mark.parametrize("kind", KINDS)
def test_each_heads_gradient_is_that_of_the_source(kind: str) -> None:
    net = double(KINDS[kind])
    found, _, _ = ours(net, pixels(), [0, 2])
    for layer, of_layer in zip((0, 2), found, strict=True):
        want = as_the_source_does(net, pixels(), layer)
        assert torch.allclose(of_layer.double(), want, rtol=1e-4, atol=1e-6 * want.abs().max().item())


def test_the_gradients_of_all_heads_sum_to_that_of_the_attention() -> None:
    net = double(BARE)
    attention = seam.attention(seam.blocks(net)[2])
    received: list[Tensor] = []
    handle = attention.register_forward_pre_hook(
        lambda _m, args: (received.append(args[0].detach().requires_grad_()), (received[-1],))[1]
    )
    net(pixels()).amax(1).sum().backward()
    handle.remove()
    (found,), _, _ = ours(net, pixels(), [2])
    assert torch.allclose(found.sum(1).double(), received[-1].grad, atol=1e-5)


def test_the_term_equals_loops_over_samples_tokens_and_pairs() -> None:
    net = double(BARE)
    found, logits, seen = ours(net, pixels(), [1, 2])
    want = []
    for of_layer in found:
        g = of_layer.detach().double().numpy()
        total = 0.0
        for b in range(g.shape[0]):
            for t in range(g.shape[2]):
                for h in range(g.shape[1]):
                    for i in range(g.shape[1]):
                        if h != i:
                            x, y = g[b, h, t], g[b, i, t]
                            total += (x @ y / np.linalg.norm(x) / np.linalg.norm(y)) ** 2
        want.append(total / g.shape[0] / g.shape[2] / g.shape[1] ** 2)
    value = diversity.term(net, logits, seen, [1, 2], [None, None]).item()
    assert value == pytest.approx(np.mean(want), rel=1e-4) and 0 < value < 2 / 3


def test_drawn_pairs_stand_for_all() -> None:
    net = double(BARE)
    _, logits, seen = ours(net, pixels(), [2])
    whole = diversity.term(net, logits, seen, [2], [None]).item()
    each = [diversity.term(net, logits, seen, [2], [torch.tensor([pair])]).item() for pair in ((0, 1), (0, 2), (1, 2))]
    assert whole == pytest.approx(np.mean(each), rel=1e-5)
    draws = [tuple(map(tuple, diversity.draw(4, 2, seed).tolist())) for seed in range(300)]
    counts = np.array(
        [sum(pair in draw for draw in draws) for pair in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))]
    )
    assert counts.sum() == 600 and (abs(counts - 100) < 40).all() and diversity.draw(4, 2, 7).tolist() == diversity.draw(
        4, 2, 7).tolist()  # fmt: skip
    assert len(diversity.draw(3, 99, 0)) == 3


def test_its_gradient_equals_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 throughout, with respect to weights before, in and behind the tapped layers."""
    monkeypatch.setattr(Tensor, "float", lambda self: self)
    net = double(ViTSpec(**SMALL | {"depth": 2}, last_residual=False))
    images, layers = pixels(2), [0, 1]

    def value() -> Tensor:
        logits, seen = Tapped(net, head_gradients.taps(layers))(images)
        return diversity.term(net, logits, seen, layers, [None, None])

    names = ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.bias", "blocks.1.attn.qkv.bias",
             "blocks.1.attn.proj.weight", "blocks.1.norm1.weight", "blocks.1.mlp.fc2.weight", "head.weight")  # fmt: skip
    parameters = [net.get_parameter(name) for name in names]
    gradients = torch.autograd.grad(value(), parameters, allow_unused=True)
    rng = np.random.default_rng(0)
    for name, parameter, gradient in zip(names, parameters, gradients, strict=True):
        assert gradient is not None and gradient.abs().max() > 1e-8, name
        for index in rng.integers(0, parameter.numel(), 3):
            step, flat = 1e-5, parameter.data.view(-1)
            before, sides = flat[index].item(), []
            for sign in (1, -1):
                flat[index] = before + sign * step
                sides.append(value().item())
            flat[index] = before
            numeric = (sides[0] - sides[1]) / (2 * step)
            assert gradient.flatten()[index].item() == pytest.approx(numeric, rel=1e-3, abs=1e-8), name


def test_directions_by_chance_and_heads_of_their_own_subspaces() -> None:
    random = torch.randn(400, 4, 50, 64, generator=torch.Generator().manual_seed(0))
    overlap = head_gradients.overlaps(random).mean(0)
    code = (overlap.sum() - overlap.diagonal().sum()).item() / 16
    assert diversity.times_chance(code, 4, 64) == pytest.approx(1, abs=0.02)
    assert torch.allclose(overlap.diagonal(), torch.ones(4), atol=1e-5)
    net = double(ViTSpec(**SMALL | {"dim": 36, "heads": 3, "head_width": 4}, last_residual=False))
    attention = seam.attention(seam.blocks(net)[2])
    rows, _ = torch.linalg.qr(torch.randn(36, 36, dtype=torch.float64))
    order = [part * 12 + head * 4 + place for part in range(3) for head in range(3) for place in range(4)]
    with torch.no_grad():
        attention.qkv.weight[order] = rows
    _, logits, seen = ours(net, pixels(), [2])
    assert diversity.term(net, logits, seen, [2], [None]).item() < 1e-9


def test_the_term_is_zero_and_finite_without_any_gradient() -> None:
    assert head_gradients.overlaps(torch.zeros(2, 3, 5, 7)).tolist() == [[[0.0] * 3] * 3] * 2
    zero = torch.zeros(2, 3, 5, 7, requires_grad=True)
    (gradient,) = torch.autograd.grad(head_gradients.overlaps(zero).sum(), zero)
    assert gradient.isfinite().all()


def test_layers_are_named() -> None:
    assert diversity.layers_of("last", 4) == [3] and diversity.layers_of("all", 3) == [0, 1, 2]
    assert diversity.layers_of("2,0,2", 4) == [0, 2]
    for text, words in (("4", "has layers 0 to 3"), ("first", "expected last, all, or layers"), ("", "expected last")):
        with pytest.raises(UsageError, match=words):
            diversity.layers_of(text, 4)
