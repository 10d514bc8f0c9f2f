"""What is compared of two attentions: losses beside plain loops, and tokens that two layers share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vhs.models.shared_tokens import SharedTokens, resample, spread
from vhs.models.taps import MADE, Tap
from vhs.models.tokens import GLOBAL, WINDOWS, Layout
from vhs.training import map_losses
from vhs.training.distillation import Pair, Relations
from vhs.training.teacher import Taught

LOSSES = ("mse", "mse-centred", "ce", "kl")
WHOLE = Layout(GLOBAL, 7, 7, 1, ("class",), (2, 3))
ALL = SharedTokens(WHOLE, WHOLE)


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def by_loops(kind: str, own: np.ndarray, other: np.ndarray) -> float:
    """The mean over all rows, one at a time; rows hold only keys that are compared."""
    found = []
    for s, t in zip(own.reshape(-1, own.shape[-1]), other.reshape(-1, own.shape[-1]), strict=True):
        if kind == "mse":
            found.append(np.mean((s - t) ** 2))
        elif kind == "mse-centred":
            found.append(np.mean(((s - s.mean()) - (t - t.mean())) ** 2))
        else:
            p, q = (np.exp(x) / np.exp(x).sum() for x in (t, s))
            found.append(-sum(a * math.log(b) for a, b in zip(p, q, strict=True)))
            if kind == "kl":
                found[-1] += sum(a * math.log(a) for a in p)
    return float(np.mean(found))


@pytest.mark.parametrize("kind", LOSSES)
def test_every_loss_equals_plain_loops(kind: str) -> None:
    own, other = scores(3, 2, 7, 7), scores(3, 2, 7, 7, seed=1)
    assert Pair(0, 0, ALL).apart(kind, own, other).mean().item() == pytest.approx(
        by_loops(kind, own.numpy(), other.numpy()), rel=1e-9
    )


@pytest.mark.parametrize("kind", LOSSES)
def test_keys_that_one_of_both_cannot_attend_to_are_left_out(kind: str) -> None:
    """Locality self-attention beside the ordinary one: no token's own key is compared, and rows sum to 1 without it."""
    own, other = scores(3, 2, 7, 7), scores(3, 2, 7, 7, seed=1)
    own = own.masked_fill(torch.eye(7, dtype=torch.bool), -torch.inf).requires_grad_()
    value = Pair(0, 0, ALL, open_QK=~torch.eye(7, dtype=torch.bool)).apart(kind, own, other).mean()
    kept = [x.detach().numpy()[..., ~np.eye(7, dtype=bool)].reshape(3, 2, 7, 6) for x in (own, other)]
    assert value.item() == pytest.approx(by_loops(kind, *kept), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, own)
    assert gradient.isfinite().all() and gradient.diagonal(dim1=-2, dim2=-1).abs().max() == 0


@pytest.mark.parametrize("kind", LOSSES)
def test_averages_over_heads_of_unequal_number(kind: str) -> None:
    own, other = scores(3, 2, 7, 7), scores(3, 5, 7, 7, seed=1)
    value = Pair(0, 0, ALL, averaged=True).apart(kind, own, other).mean().item()
    if kind.startswith("mse"):
        one, two = own.mean(1).numpy(), other.mean(1).numpy()
    else:
        one, two = (x.softmax(-1).mean(1).log().numpy() for x in (own, other))
    assert value == pytest.approx(by_loops(kind, one, two), rel=1e-9)


def test_cross_entropy_and_divergence_have_the_same_gradient_and_mse_minds_a_constant() -> None:
    own, other = scores(3, 2, 7, 7).requires_grad_(), scores(3, 2, 7, 7, seed=1)
    ce, kl = (torch.autograd.grad(Pair(0, 0, ALL).apart(kind, own, other).sum(), own)[0] for kind in ("ce", "kl"))
    assert torch.allclose(ce, kl, atol=1e-12) and ce.abs().max() > 0.01
    moved = own + scores(3, 2, 7, 1, seed=2)
    for kind in LOSSES:
        same = torch.allclose(*(Pair(0, 0, ALL).apart(kind, x, other) for x in (own, moved)))
        assert same == (kind != "mse"), kind


def test_relations_equal_plain_loops_whatever_the_widths() -> None:
    made = scores(2, 7, 3 * 12).float(), scores(2, 7, 3 * 20, seed=1).float()
    term = Relations([Pair(1, 2, ALL)], 4)
    taps = Tap(MADE, 1), Tap(MADE, 2)
    value = term.per_image({taps[0]: made[0]}, Taught(None, {taps[1]: made[1]}), 2).mean().item()
    found = []
    for part in range(3):
        related = []
        for whole in made:
            width = whole.shape[-1] // 12  # of one of four relation heads
            x = whole.double().numpy()[..., part * 4 * width : (part + 1) * 4 * width].reshape(2, 7, 4, width)
            related.append(np.einsum("bnrd,bmrd->brnm", x, x) / math.sqrt(width))
        found.append(by_loops("kl", *related))
    assert value == pytest.approx(np.mean(found), rel=1e-4)


def test_interpolation_keeps_rows_what_they_are() -> None:
    fine = Layout(GLOBAL, 26, 26, 1, ("class", "register"), (4, 6))
    coarse = Layout(GLOBAL, 7, 7, 1, ("class",), (2, 3))
    shared = SharedTokens(coarse, fine)
    assert shared.refusal() is None and not shared.whole and shared.special == ("class",)
    mapped = scores(3, 2, 26, 26).softmax(-1)
    found = shared.map_of_other(mapped)
    assert found.shape == (3, 2, 7, 7) and torch.allclose(found.sum(-1), torch.ones(3, 2, 7, dtype=torch.float64))
    kept = mapped[..., 0, 0] / (1 - mapped[..., 0, 1])  # the class token's share among shared tokens
    assert torch.allclose(found[..., 0, 0], kept)
    even = shared.map_of_other(torch.full((1, 1, 26, 26), 1 / 26, dtype=torch.float64))
    assert torch.allclose(even[..., 1:], torch.full_like(even[..., 1:], 24 / 25 / 6))  # a patch of four stands for four
    assert torch.equal(shared.of_own(scores(1, 1, 7, 7)), scores(1, 1, 7, 7))
    assert SharedTokens(fine, coarse).of_own(scores(1, 1, 26, 26)).shape == (1, 1, 25, 25)


def test_resampling_is_linear_exact_on_planes_and_keeps_sums() -> None:
    plane = (torch.arange(8.0)[:, None] * 3 + torch.arange(12.0)).flatten()  # of places
    half = resample(plane[None], (8, 12), (4, 6)).view(4, 6)
    inner = torch.arange(4.0)[:, None] * 6 + 1.5 + torch.arange(6.0) * 2 + 0.5
    assert torch.allclose(half[1:-1, 1:-1], inner[1:-1, 1:-1], atol=1e-5)
    shares = scores(5, 96).softmax(-1)
    for to in ((4, 6), (16, 24), (3, 5)):
        assert torch.allclose(spread(shares, (8, 12), to).sum(-1), torch.ones(5, dtype=torch.float64))
    assert torch.equal(resample(shares, (8, 12), (8, 12)), shares)


def test_tokens_are_matched_by_name_and_windows_only_with_equal_ones() -> None:
    layouts = {
        "window 7": Layout(WINDOWS, 49, 49, 4, (), (7, 7)), "window 4": Layout(WINDOWS, 16, 16, 4, (), (4, 4)),
        "more windows": Layout(WINDOWS, 49, 49, 16, (), (7, 7)), "whole": Layout(GLOBAL, 49, 49, 1, (), (7, 7)),
        "no places": Layout(GLOBAL, 12, 12), "others without": Layout(GLOBAL, 13, 13),
    }  # fmt: skip
    for own in layouts.values():
        for other in layouts.values():
            assert (SharedTokens(own, other).refusal() is None) == (own == other)
    told = Layout(GLOBAL, 10, 10, 1, ("class", "distillation", "register", "register"), (2, 3))
    plain = Layout(GLOBAL, 8, 8, 1, ("class", "register"), (2, 3))
    found = SharedTokens(plain, told).map_of_other(scores(1, 1, 10, 10).softmax(-1))
    want = scores(1, 1, 10, 10)[..., [0, 2, 4, 5, 6, 7, 8, 9], :][..., [0, 2, 4, 5, 6, 7, 8, 9]].softmax(-1)
    assert torch.allclose(found, want)


def test_the_student_and_the_teacher_with_one_map_lose_nothing() -> None:
    own = scores(3, 2, 7, 7)
    for averaged in (False, True):
        for kind in ("mse", "mse-centred", "kl"):
            assert Pair(0, 0, ALL, averaged=averaged).apart(kind, own, own).abs().max() < 1e-12
    assert map_losses.OF_SCORES == ("mse", "mse-centred")
