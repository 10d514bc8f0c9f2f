"""Attention rollout and gradient-weighted relevance, against loops in NumPy and numeric gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.networks import model_of
from vhs.measures import rollout
from vhs.measures.observation import Observer


def layers(seed: int = 0) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(2, heads, 7, 7).mul(2).softmax(-1) for heads in (3, 5, 2)]


def test_rollout_of_identities_is_the_identity() -> None:
    same = [torch.eye(6).expand(2, 3, -1, -1)] * 4
    assert torch.equal(rollout.rollout(same), torch.eye(6).expand(2, -1, -1))


def test_rollout_is_the_product_of_mixed_layers() -> None:
    maps = layers()
    want = np.eye(7)[None].repeat(2, 0)
    for layer in maps:
        mean = layer.double().numpy().mean(1)
        mixed = 0.5 * mean + 0.5 * np.eye(7)
        mixed /= mixed.sum(-1, keepdims=True)
        want = np.stack([a @ b for a, b in zip(mixed, want, strict=True)])
    got = rollout.rollout(maps)
    assert np.allclose(got, want, atol=1e-6) and torch.allclose(got.sum(-1), torch.ones(()), atol=1e-5)


def test_relevance_adds_what_each_layer_passes_on() -> None:
    maps = layers()
    gradients = [torch.randn_like(layer) for layer in maps]
    want = np.eye(7)[None].repeat(2, 0)
    for layer, gradient in zip(maps, gradients, strict=True):
        weighted = np.maximum(gradient.double().numpy() * layer.double().numpy(), 0).mean(1)
        want = want + np.stack([a @ b for a, b in zip(weighted, want, strict=True)])
    assert np.allclose(rollout.relevance(maps, gradients), want, atol=1e-5)


@pytest.mark.parametrize("name", ["fast", "replay", "fast, layer scale"])
def test_gradients_of_maps_are_those_that_nudging_a_weight_shows(name: str) -> None:
    """A weight of attention is nudged where the module averages its values, and the logit is looked at."""
    model = make(name)
    observer = Observer(model)
    size = model.preprocess
    torch.manual_seed(1)
    pixels = torch.randn(2, size.channels, size.height, size.width)
    targets = torch.tensor([1, 0])
    gradients = observer.gradients(pixels, targets)
    seam = model.engine.seams[1]
    width = observer.probe.layers[1].weights_RHQK.shape[-1]
    for head, query, key in ((0, 0, 2), (model.grid.per_layer[1] - 1, 3, width - 1)):
        nudged = nudge(model, seam, head, query, key, pixels)
        want = nudged.gather(1, targets[:, None])[:, 0]
        assert gradients[1][:, head, query, key].numpy() == pytest.approx(want.numpy(), rel=2e-2, abs=2e-3)


def make(name: str):  # type: ignore[no-untyped-def]
    from tests.networks import MODELS

    torch.manual_seed(0)
    return MODELS[name]()


def nudge(model, seam, head: int, query: int, key: int, pixels: torch.Tensor) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """d logits / d weight, by central differences: the value of the key is added to the query's average."""
    from vhs.models.maps import MapReader

    values = MapReader(model.net, model.engine.seams, pixels).read(pixels)[1].values_RHKW[:, head, key]
    step = 1e-2
    sides = []
    for sign in (1, -1):

        def add(_module, args, sign=sign):  # type: ignore[no-untyped-def]
            received = args[0].clone()
            by_head = seam.by_head(received)
            by_head[:, query, head] += sign * step * values
            return (received,)

        handle = seam.projection.register_forward_pre_hook(add)
        with torch.no_grad():
            sides.append(model.net(pixels).double())
        handle.remove()
    return (sides[0] - sides[1]) / (2 * step)


def test_relevance_is_asked_for_without_gradients_on() -> None:
    model = model_of("class token")
    for parameter in model.net.parameters():
        parameter.requires_grad_(False)
    observer = Observer(model)
    with torch.no_grad():
        gradients = observer.gradients(torch.randn(1, 1, 33, 22), torch.tensor([3]))
    assert len(gradients) == 3 and all(gradient.isfinite().all() and gradient.abs().max() > 0 for gradient in gradients)
