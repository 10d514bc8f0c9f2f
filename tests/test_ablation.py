"""The tallies of an ablation: against scoring the naive loop, and what must not change them."""

import numpy as np
import pytest
import torch

from tests.naive import ablated_logits
from tests.networks import SPECS, TIMM, model_of
from vhs.batch import Batch
from vhs.measures.ablation import HeadAblation
from vhs.measures.scoring import Scope
from vhs.measures.steadiness import is_steady, settle
from vhs.models.model import Model
from vhs.seeds import FOLDS, folds, sample_keys

COUNT = 61


def samples() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    torch.manual_seed(0)
    return (
        torch.randint(0, 256, (COUNT, 1, 33, 22), dtype=torch.uint8),
        torch.arange(COUNT) % 13,
        sample_keys([str(i) for i in range(COUNT)]),
    )


def measure(model: Model, order: list[int], tile: int = 32, group: int = 3) -> np.ndarray:
    images, labels, keys = samples()
    tally = HeadAblation(model, Scope.whole(len(model.classes), model.device), group)
    for start in range(0, len(order), tile):
        part = order[start : start + tile]
        pad = tile - len(part)
        chosen = torch.tensor(part + [0] * pad)
        in_folds = torch.from_numpy(folds(keys))[chosen]
        in_folds[len(part) :] = FOLDS
        tally.add(
            Batch(
                images[chosen],
                labels[chosen],
                torch.from_numpy(keys.view(np.int64))[chosen],
                in_folds,
                torch.empty(0, tile, dtype=torch.int64),
                len(part),
            )
        )
    return tally.results()["units"]


@pytest.mark.parametrize("name", [*SPECS, *TIMM])
def test_counts_equal_scoring_the_naive_loop(name: str) -> None:
    model = model_of(name)
    counts = measure(model, list(range(COUNT)))
    images, labels, keys = samples()
    pixels = model.preprocess(images)
    with torch.inference_mode():
        intact = model.net(pixels)
    ablated = ablated_logits(model.net, pixels)
    right, right_after = intact.argmax(-1) == labels, ablated.argmax(-1) == labels
    near = counts["n_near_tie"][1:].sum()
    assert near == 0, "choose another seed: a near-tie would excuse a difference"
    by_fold = np.stack([(folds(keys) == fold) for fold in range(FOLDS)])
    for field, want in (
        ("n", torch.ones_like(right_after)), ("n_lost", right & ~right_after), ("n_gained", ~right & right_after),
        ("n_correct", right_after), ("n_correct_intact", right.expand_as(right_after)),
    ):  # fmt: skip
        assert np.array_equal(counts[field][1:], want.long().numpy() @ by_fold.T), field
    losses = torch.nn.functional.cross_entropy(
        ablated.double().flatten(0, 1), labels.repeat(len(ablated)), reduction="none"
    )
    dloss = losses.view(len(ablated), -1).sum(1) - torch.nn.functional.cross_entropy(
        intact.double(), labels, reduction="sum"
    )
    assert np.allclose(counts.total_float("dloss")[1:], dloss.numpy(), atol=1e-3)


def test_the_sham_changes_nothing() -> None:
    for name in ("class token", "average pool", "free head width"):
        counts = measure(model_of(name), list(range(COUNT)))
        assert counts.total("n_lost")[0] == counts.total("n_gained")[0] == 0
        assert abs(counts.total_float("dloss")[0]) / COUNT < 1e-6


@pytest.mark.parametrize("name", ["ordinary head width", *SPECS])
def test_order_does_not_change_a_bit(name: str) -> None:
    model = model_of(name)
    settled = settle(model, samples()[0][:32], 3).steady
    assert settled or name != "ordinary head width", "the self-test at the start of a run"
    straight = measure(model, list(range(COUNT)))
    shuffled = measure(model, np.random.default_rng(1).permutation(COUNT).tolist())
    for field in ("n", "n_correct_intact", "n_correct", "n_lost", "n_gained"):
        assert np.array_equal(straight[field], shuffled[field])
    if settled:
        assert np.array_equal(straight.values, shuffled.values), "the fixed-point losses too"


def test_tile_and_group_change_no_count() -> None:
    model = model_of("registers")
    base = measure(model, list(range(COUNT)))
    for tile, group in ((16, 8), (64, 1)):
        other = measure(model, list(range(COUNT)), tile, group)
        for field in ("n", "n_correct_intact", "n_correct", "n_lost", "n_gained"):
            assert np.array_equal(base[field], other[field]), (tile, group, field)


def test_masked_head_equals_structurally_removed_head() -> None:
    """Removing the rows of qkv and the columns of proj gives the masked model's answers."""
    model = model_of("free head width")
    pixels = model.preprocess(samples()[0])
    want = ablated_logits(model.net, pixels).view(3, 7, COUNT, -1)[1, 2]
    attn, width = model.net.blocks[1].attn, 3
    keep = [i for i in range(attn.attn_dim) if i // width != 2]
    rows = keep + [i + attn.attn_dim for i in keep] + [i + 2 * attn.attn_dim for i in keep]
    with torch.inference_mode():
        attn.qkv.weight, attn.qkv.bias = (
            torch.nn.Parameter(attn.qkv.weight[rows]),
            torch.nn.Parameter(attn.qkv.bias[rows]),
        )
        attn.proj.weight = torch.nn.Parameter(attn.proj.weight[:, keep])
        attn.num_heads, attn.attn_dim = 6, 6 * width
        got = model.net(pixels)
    assert (got - want).abs().max() / want.abs().max() < 1e-5


def test_reduced_precision_tells_its_flips_on_fold_0() -> None:
    model = model_of("class token")
    low = Model(**{**vars(model), "precision": "bf16"})
    counts = measure(low, list(range(COUNT)))
    images, _, keys = samples()
    with torch.inference_mode():
        exact = model.net(model.preprocess(images)).argmax(1)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.net(model.preprocess(images)).float().argmax(1)
    flips = ((exact != rough).numpy() & (folds(keys) == 0)).sum()
    assert abs(int(counts.total("n_flip")[0]) - int(flips)) <= 1
    assert counts.total("n_flip")[1:].sum() == 0
    assert counts["n_flip"][0, 1:].sum() == 0


def test_the_self_test_sees_an_unsteady_kernel() -> None:
    """A head width of 5 misaligns the fused kernel, which then rounds by address."""
    model = model_of("class token")
    for block in model.net.blocks:
        block.attn.fused_attn = True
    images = samples()[0][:48]
    steady = is_steady(model, images, 2)
    pixels, order = model.preprocess(images), torch.randperm(48)
    with torch.inference_mode():
        same = torch.equal(model.net(pixels)[order], model.net(pixels[order]))
    assert steady == same
