"""Training on fake tensors of a GPU, and its backward pass on the CPU: an update makes the host wait for nothing."""

from __future__ import annotations

from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import AdamW

from tests.cuda_models import numbers, quick_field
from tests.cuda_training import (
    ALL,
    DIVERSE,
    RECIPES,
    SPLIT,
    STATS,
    TAUGHT,
    begun,
    brought,
    check,
    learned,
    no_backward,
    on_device,
    resident,
)  # fmt: skip
from tests.fake_cuda import DEVICE, on_cpu, on_cuda
from tests.trainings import plain
from tests.waits import LISTED
from vhs.fitting.training import CHECKED
from vhs.shifts import fields
from vhs.training import feed, loop
from vhs.training.recipe import Recipe

pytestmark = pytest.mark.usefixtures("no_tables")


@pytest.mark.parametrize("name", RECIPES)
def test_training_up_to_the_loss_and_from_the_gradients_on(name: str) -> None:
    """An epoch: its order, augmentation, mixing, the network in bf16, the loss, clipping, AdamW, the average, the sums."""
    recipe = Recipe().with_values(RECIPES[name], name)
    state = brought(begun(recipe), recipe)
    field = nullcontext() if name == "everything" else patch.object(fields, "philox", quick_field)
    with field, patch.object(Tensor, "backward", no_backward(state)):
        with on_cuda(LISTED):
            updates = loop.updates(state, recipe, resident(recipe, numbers(SPLIT)), STATS, plain(recipe, 5))
            next(updates)  # the epoch begins, tables are made
        with on_cuda():
            next(updates)
    assert state.step == 2 and state.loss_sum.device == state.bad_step.device == DEVICE


def test_training_on_targets_up_to_the_loss() -> None:
    recipe = Recipe().with_values(ALL, "targets")
    state = brought(begun(recipe), recipe)
    with patch.object(fields, "philox", quick_field), patch.object(Tensor, "backward", no_backward(state)):
        with on_cuda(LISTED):
            source = resident(recipe, torch.zeros(SPLIT, 5, device=DEVICE))
            updates = loop.updates(state, recipe, source, STATS, plain(recipe, 5, regression=True))
            next(updates)
        with on_cuda():
            next(updates)


@pytest.mark.parametrize("name", TAUGHT)
def test_what_a_teacher_tells_waits_for_nothing(name: str) -> None:
    """Its pass, both networks' scores, the losses; the two gradients are taken apart on a device only."""
    recipe = Recipe().with_values(ALL | {"layer_decay": 1.0} | TAUGHT[name], name)
    objective, teacher = learned(recipe)
    state = brought(begun(recipe, objective), recipe)
    objective = on_device(objective, teacher)
    norms = {"add": lambda *_: None, "both": lambda self: self._of_answers.double()[:2]}
    with (
        patch.object(fields, "philox", quick_field), patch.object(Tensor, "backward", no_backward(state)),
        patch.multiple(loop.Norms, **norms),
    ):  # fmt: skip
        with on_cuda(LISTED):
            updates = loop.updates(state, recipe, resident(recipe, numbers(SPLIT)), STATS, objective)
            next(updates)
        with on_cuda():
            next(updates)
    assert state.step == 2 and state.term_sums.device == DEVICE


@pytest.mark.parametrize("name", [*TAUGHT, *DIVERSE])
def test_an_update_with_more_terms_asks_for_no_value(name: str) -> None:
    """On the CPU, with the gradients of gradients and those that are taken apart."""
    plain_keys = {"mixup": 0.0, "cutmix": 0.0, "accumulate": 1, "layer_decay": 1.0}
    recipe = Recipe().with_values(ALL | plain_keys | (TAUGHT | DIVERSE)[name], name)
    objective, _ = learned(recipe)
    state = begun(recipe, objective)
    state.optimizer = AdamW([{**group, "fused": True} for group in state.optimizer.param_groups], fused=True)
    with on_cpu():
        loop._update(state, recipe, objective, (torch.randn(8, 1, 42, 28), torch.arange(8) % 5), 0.01)
    assert state.first_bad_step() is None and (state.term_sums != 0).all() and state.term_sums.isfinite().all()


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")
def test_a_streamed_batch_waits_for_nothing() -> None:
    """Images come from the host, pinned; which samples they are was told the device when the epoch began."""
    recipe = Recipe().with_values(ALL, "streamed")
    with on_cuda(LISTED):
        samples = feed.Samples(numbers(SPLIT), numbers(SPLIT))
        batches = feed.Streamed(recipe, samples, lambda _: np.zeros((1, 42, 28), np.uint8), 0).epoch(0, 0)
        next(batches)
    with on_cuda():
        (second,) = batches
        assert {part.device for part in second} == {DEVICE}


@pytest.mark.parametrize("name", RECIPES)
def test_the_backward_pass_and_the_average_wait_for_nothing(name: str) -> None:
    """On the CPU, whose fused AdamW stands for the device's; nothing in an update asks for a value."""
    recipe = Recipe().with_values(RECIPES[name], name)
    state = begun(recipe)
    rates = [{**group, "fused": True} for group in state.optimizer.param_groups]
    state.optimizer = AdamW(rates, fused=True)
    before = [parameter.clone() for parameter in state.net.parameters()]
    pixels, labels = torch.randn(8, 1, 42, 28), torch.arange(8) % 5
    with on_cpu():
        loop._update(state, recipe, plain(recipe, 5), (pixels, labels), 0.01)
    assert any(not torch.equal(a, b) for a, b in zip(before, state.net.parameters(), strict=True))
    assert state.first_bad_step() is None


def test_losses_are_asked_for_every_so_often() -> None:
    state = brought(begun(Recipe().with_values(RECIPES["nothing"], "")), Recipe())
    asked = []
    for state.step in range(1, 2 * CHECKED + 1):
        with on_cuda(LISTED) as watch:
            check(state)
        asked += [state.step] * len(watch.seen)
    assert asked == [CHECKED, 2 * CHECKED]
