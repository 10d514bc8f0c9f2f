"""Counter-based random fields: known answers, distributions, independence of batching."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import ndtri

from vhs.seeds import hash64
from vhs.shifts import fields

MASK = 2**32 - 1


def philox_reference(counter: list[int], key: list[int], width: int, rounds: int = 10) -> list[int]:
    """Philox4xW in Python integers, for W = 32 and 64 (Salmon et al. 2011, table 2)."""
    multiplier, weyl = {
        32: ((0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)),
        64: ((0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)),
    }[width]
    mask, (k0, k1), (c0, c1, c2, c3) = 2**width - 1, key, counter
    for _ in range(rounds):
        p0, p1 = multiplier[0] * c0, multiplier[1] * c2
        c0, c1, c2, c3 = (p1 >> width) ^ c1 ^ k0, p1 & mask, (p0 >> width) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + weyl[0]) & mask, (k1 + weyl[1]) & mask
    return [c0, c1, c2, c3]


def test_the_reference_is_numpys_philox() -> None:
    generator = np.random.Philox(counter=[5, 6, 7, 8], key=[3, 4])
    # NumPy increments the counter before it generates
    assert philox_reference([6, 6, 7, 8], [3, 4], 64) == generator.random_raw(4).tolist()


@pytest.mark.parametrize(("key", "sample", "stream"), [(3, 4, 0), (2**64 - 1, -(2**63), 5), (hash64(0, "x"), -7, 1)])
def test_the_device_path_is_numpys_philox(key: int, sample: int, stream: int) -> None:
    blocks = torch.arange(1, 6)[None]
    drawn = fields.philox(blocks, torch.full_like(blocks, sample), key, stream).numpy().view(np.uint64)
    generator = np.random.Philox(counter=[0, 0, stream, 0], key=np.array([key, sample % 2**64], np.uint64))
    assert drawn[0].tolist() == generator.random_raw(20).tolist()


def test_words_are_keyed_by_sample_purpose_stream_and_element() -> None:
    keys = torch.tensor([17, -(2**60), 2**62 + 3])
    key = hash64(0, "test")
    drawn = fields.words(keys, 11, key, stream=2)
    for row, sample in zip(drawn, keys.tolist(), strict=True):
        want = []
        for block in (1, 2):
            for word in philox_reference([block, 0, 2, 0], [key, sample % 2**64], 64):
                want += [word & MASK, word >> 32]
        assert (row.long() & MASK).tolist() == want[:11]


def as_words(values: torch.Tensor) -> torch.Tensor:
    """Numbers below 2^32 as the int32 of the same bits."""
    return torch.from_numpy(values.numpy().astype(np.uint32).view(np.int32))[None]


def unsigned(words: torch.Tensor) -> np.ndarray:
    return words.numpy().view(np.uint32).astype(float)


def test_words_do_not_depend_on_the_batch() -> None:
    keys = torch.arange(50) * 7919
    together = fields.normal(fields.words(keys, 301, 5))
    order = torch.randperm(50)
    assert torch.equal(fields.normal(fields.words(keys[order], 301, 5)), together[order])
    alone = torch.cat([fields.normal(fields.words(keys[i : i + 1], 301, 5)) for i in range(50)])
    assert torch.equal(alone, together)


def test_normal_is_the_quantile_function_everywhere() -> None:
    edges = torch.cat([torch.arange(70_000), 2**31 - 500 + torch.arange(1000), 2**32 - 70_000 + torch.arange(70_000)])
    words = torch.cat([as_words(edges), fields.words(torch.arange(3), 100_000, 9).reshape(1, -1)], dim=1)
    exact = ndtri((unsigned(words) + 0.5) / 2**32)
    assert np.abs(fields.normal(words).numpy() - exact).max() < 5e-6


def test_fields_have_their_distributions() -> None:
    words = fields.words(torch.arange(20), 20_000, 1)
    z, u = fields.normal(words).flatten().numpy(), fields.uniform(words).flatten().numpy()
    assert stats.kstest(z, "norm").pvalue > 1e-3
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert u.min() >= 0 and u.max() < 1
    neighbours = np.corrcoef(z[:-1], z[1:])[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(len(z))


@pytest.mark.parametrize("strength", [3.0, 60.0, 500.0])
def test_poisson_is_the_inverse_distribution_function(strength: float) -> None:
    rates = tuple(level / 255 * strength for level in range(256))
    edges = torch.cat([torch.arange(3000), 2**31 - 500 + torch.arange(1000), 2**32 - 3000 + torch.arange(3000)])
    words = torch.cat([as_words(edges), fields.words(torch.arange(2), 30_000, 4).reshape(1, -1)], dim=1)
    rows = torch.arange(words.shape[1], dtype=torch.int32)[None] % 256
    drawn = fields.poisson(words, rows, rates)
    last, first, steps = fields.poisson_table(rates, words.device)
    bins = fields.quantile_bins(words)[0] - (words >> 31) * (first.shape[1] // 2) + rows * first.shape[1]
    climbed = fields._climb((fields.pick(first.view(-1), bins) >> 1).int(), words ^ fields.SIGN, rows, last, steps)
    assert torch.equal(climbed, drawn)  # as a device has it, which is not asked which words may be between two values
    exact = stats.poisson.ppf((unsigned(words) + 0.5) / 2**32, np.array(rates)[rows.numpy()])
    assert (drawn.numpy() != exact).sum() == 0
