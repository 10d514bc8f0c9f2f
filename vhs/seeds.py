"""Random draws that belong to (seed, purpose, sample id), never to a position in a batch."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

FOLDS = 20


def hash64(*parts: object) -> int:
    """A 64-bit hash of `parts`, the same on every machine and in every run (BLAKE2b)."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def sample_keys(ids: Sequence[str]) -> np.ndarray:
    """uint64 [B]: the hash of each sample id; folds, subsets and corruptions hang on it."""
    return np.array([hash64("sample", name) for name in ids], dtype=np.uint64)


def folds(keys: np.ndarray) -> np.ndarray:
    """int64 [B] in 0..FOLDS-1: the fold of each sample, equal in every condition, model and rank."""
    return (keys % np.uint64(FOLDS)).astype(np.int64)


def nested_order(keys: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Sample positions in an order whose every prefix is a class-stratified random subset.

    keys: uint64 [N] sample hashes; labels: int64 [N]. Because each prefix contains the shorter ones,
    a run with fewer samples scores a subset of the samples of a longer one.
    Returns int64 [N], a permutation that depends on the samples and the seed, not on their order.
    """
    mixed = np.array([hash64(seed, "subset", key) for key in keys.tolist()], dtype=np.uint64)
    by_class = np.lexsort((mixed, labels))
    starts = np.r_[0, np.flatnonzero(np.diff(labels[by_class])) + 1]
    sizes = np.diff(np.r_[starts, len(labels)])
    rank = np.empty(len(labels), dtype=np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(starts, sizes)
    return np.lexsort((mixed, rank))


@contextmanager
def seed_generators(*parts: object) -> Iterator[None]:
    """Seed torch, NumPy and Python from `parts` inside the block, and restore them after it.

    For the parts of timm and torch that draw from global generators (dropout, mixup). Resuming a
    run needs no generator state, because every step is seeded by its own number.
    """
    import torch

    value = hash64(*parts)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(value & (2**63 - 1))
        random.seed(value)
        np.random.seed(value & (2**32 - 1))
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
