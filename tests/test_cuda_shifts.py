"""Shifts and preprocessing on fake tensors of a GPU."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch

from tests.cuda_models import images, numbers, quick_field
from tests.fake_cuda import DEVICE, on_cuda
from tests.waits import EVERY_BATCH, TABLES
from vhs.models.model import Preprocess
from vhs.shifts import fields
from vhs.shifts.corruption import corrupt
from vhs.shifts.kinds import CORRUPTIONS

pytestmark = pytest.mark.usefixtures("no_tables")


def test_random_fields() -> None:
    with on_cuda():
        words = fields.words(numbers(3), 21, 2**63 + 5, stream=1)
        assert (words.device, words.shape, words.dtype) == (DEVICE, (3, 21), torch.int32)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions(name: str) -> None:
    """At two sizes, whose parameters and ways differ; with all tables there, only JPEG waits."""

    def made(channels: int, side: int, severity: int) -> None:
        given = images(2, channels, side, side)
        got = corrupt(given, numbers(2), name, 2 if name == "patch_shuffle" else severity, 0)
        assert (got.device, got.shape, got.dtype) == (DEVICE, given.shape, given.dtype)

    strong = 1 if name == "grayscale" else 5
    with patch.object(fields, "philox", quick_field):
        with on_cuda(TABLES | EVERY_BATCH):
            made(3, 224, strong)
            made(1, 32, 1)
            made(3, 32, strong)
        with on_cuda(EVERY_BATCH):
            made(3, 32, strong)


@pytest.mark.parametrize(("given", "wanted"), [(1, 3), (3, 1), (3, 3)])
def test_preprocessing(given: int, wanted: int) -> None:
    """Channels matched, resized and not; statistics are on the device after the first batch."""
    stats = Preprocess(height=42, width=28, channels=wanted, mean=(0.4,) * wanted, std=(0.2,) * wanted)
    with on_cuda(TABLES):
        assert stats(images(2, given, 42, 28)).device == DEVICE
    with on_cuda():
        assert stats(images(2, given, 50, 61)).shape == (2, wanted, 42, 28)
