"""The harness itself: fake tensors of a GPU, and the watch for what makes the host wait for it."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.cuda_models import images, numbers
from tests.fake_cuda import DEVICE, READ, TO_DEVICE, TO_HOST, HostWaits, Wait, on_cpu, on_cuda
from tests.waits import LISTED
from vhs.shifts import fields
from vhs.shifts.corruption import corrupt

pytestmark = pytest.mark.usefixtures("no_tables")


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        (lambda x: x.sum().item(), READ),
        (lambda x: bool((x > 0).any()), READ),
        (lambda x: x.tolist(), READ),
        (lambda x: torch.equal(x, x), READ),
        (lambda x: x.nonzero(), READ),
        (lambda x: x[x > 0], READ),
        (lambda x: x.masked_select(x > 0), READ),
        (lambda x: x.unique(), READ),
        (lambda x: torch.linalg.solve(x, x), READ),
        (lambda x: x.cpu(), TO_HOST),
        (lambda x: x.to("cpu", non_blocking=True), TO_HOST),
        (lambda x: torch.zeros(3, 3).copy_(x), TO_HOST),
        (lambda x: x[[0, 1]], TO_DEVICE),
        (lambda x: x[torch.tensor([0, 1])], TO_DEVICE),
        (lambda x: x.index_put_((torch.tensor([0]),), x[0]), TO_DEVICE),
        (lambda x: x.new_tensor([1.0]), TO_DEVICE),
        (lambda x: torch.tensor([1.0], device=x.device), TO_DEVICE),
        (lambda x: torch.ones(3).to(x), TO_DEVICE),
        (lambda x: x.copy_(torch.ones(3, 3)), TO_DEVICE),
        (lambda x: torch.from_numpy(np.ones(3)).to(x.device), TO_DEVICE),
    ],
)
def test_a_planted_wait_is_found(planted: Callable[[Tensor], object], kind: str) -> None:
    with on_cuda(LISTED):
        x = torch.zeros(3, 3, device=DEVICE)
        with pytest.raises(HostWaits, match=kind):
            planted(x)
    others = {Wait("test_fake_cuda.py:<lambda>", other) for other in (READ, TO_HOST, TO_DEVICE) if other != kind}
    with on_cuda(others), pytest.raises(HostWaits):  # a place is listed for one kind of waiting only
        planted(x)


def test_what_does_not_wait_passes() -> None:
    with on_cuda() as watch:
        x = torch.zeros(3, 3, device=DEVICE)
        assert torch.tensor([0, 1]).to(DEVICE, non_blocking=True).device == DEVICE
        assert torch.tensor([3.0, 4.0]).tolist() == [3, 4] and torch.from_numpy(np.ones(2)).numpy().sum() == 2
        x[:, 1:] = 1
        assert torch.where(x > 0, 1.0, x).device == x.cumsum(0).device == DEVICE
    assert not watch.seen


@pytest.mark.parametrize(
    "planted",
    [
        lambda x: x + torch.ones(3, 3),
        lambda x: torch.cat([x, torch.ones(1, 3)]),
        lambda x: nn.Linear(3, 2).requires_grad_(False)(x),
        lambda x: torch.where(x > 0, torch.ones(3, 3), x),
        lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.int64)),
        lambda x: x.index_select(0, torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_planted_mixed_devices_are_found(planted: Callable[[Tensor], object]) -> None:
    with on_cuda(LISTED):
        x = torch.zeros(3, 3, device=DEVICE)
        with pytest.raises(RuntimeError, match="device"):
            planted(x)


def test_a_planted_wait_is_found_inside_vhs() -> None:
    """In the middle of a corruption, by its own place; a listed place is good for its own kind only."""

    def waiting(table: Tensor, index: Tensor) -> Tensor:
        return table[: 1 + int(index.max())].index_select(0, index.flatten()).view(index.shape)

    with (
        patch.object(fields, "pick", waiting),
        on_cuda(LISTED),
        pytest.raises(HostWaits, match=r"fields\.py:normal read"),
    ):
        corrupt(images(2, 3, 32, 32), numbers(2), "gaussian_noise", 3, 0)


BY_OPERATION = (
    lambda x: x.sum().item(), lambda x: bool(x.sum() > 0), lambda x: float(x.sum()), lambda x: torch.equal(x, x),
    lambda x: x.nonzero(), lambda x: x[x > 0],
)  # fmt: skip
BY_PYTHON = (lambda x: x.tolist(), lambda x: x.cpu(), lambda x: x.detach().numpy())


@pytest.mark.parametrize("planted", BY_OPERATION + BY_PYTHON)
def test_a_planted_wait_is_found_on_the_cpu_too(planted: Callable[[Tensor], object]) -> None:
    with on_cpu(LISTED), pytest.raises(HostWaits):
        planted(torch.ones(3))


@pytest.mark.parametrize("planted", BY_OPERATION)
def test_a_planted_wait_is_found_in_the_backward_pass(planted: Callable[[Tensor], object]) -> None:
    x = torch.ones(3, requires_grad=True)
    x.register_hook(lambda gradient: planted(gradient) and None)
    with on_cpu(LISTED), pytest.raises(HostWaits):
        (x**2).sum().backward()
