"""Random fields from a counter-based generator: a pure function of (key, sample, element).

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") in integer
operations. Normals and Poissons come from tables indexed by the bits of the draw, with one
multiplication and one addition, which IEEE 754 rounds alike everywhere. So a field has the same
bits at any batch size, order, thread count and device; a Box-Muller transform would not.

Letters: B samples, W words (32 random bits each, held in int64), K table rows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
SUB_BITS = 7
"""Each octave of probability is cut into 2^SUB_BITS bins."""


def philox(counters: tuple[Tensor, Tensor, Tensor, Tensor], key: int) -> tuple[Tensor, ...]:
    """Philox4x32-10: four int64 tensors holding 32-bit counters, a 64-bit key -> four of random words."""
    c0, c1, c2, c3 = counters
    k0, k1 = key & MASK, key >> 32
    for _ in range(ROUNDS):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # the low 64 bits wrap, as they should
        c0, c1, c2, c3 = ((p1 >> 32) & MASK) ^ c1 ^ k0, p1 & MASK, ((p0 >> 32) & MASK) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def words(keys_B: Tensor, count: int, key: int, stream: int = 0) -> Tensor:
    """int64 [B, count] of 32 random bits each.

    keys_B: int64 sample hashes; key: 64-bit hash of (seed, purpose); stream: tells several fields
    of one purpose apart. Word i of a sample is word i % 4 of Philox at counter (i // 4, stream, sample).
    """
    blocks = torch.arange(-(-count // 4), device=keys_B.device).expand(len(keys_B), -1)
    low, high = (keys_B & MASK)[:, None], ((keys_B >> 32) & MASK)[:, None]
    counters = (blocks, torch.full_like(blocks, stream), low.expand_as(blocks), high.expand_as(blocks))
    return torch.stack(philox(counters, key), dim=-1).flatten(1)[:, :count]


def uniform(words_BW: Tensor) -> Tensor:
    """float32 in [0, 1): the top 24 bits, exactly."""
    return (words_BW >> 8).float() * 2.0**-24


def quantile_bins(words_BW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cut [0, 1) into bins that get finer towards both ends, and find each word's bin.

    The top bit says which half; the other 31 bits, as a float, give an octave and its part, so that
    the tails are resolved as finely, in relative terms, as the middle.
    Returns (upper, bin, fraction): whether the word is in the upper half, the bin counted from the
    nearer end (int64), the position inside the bin (float32 in [0, 1)).
    """
    upper = words_BW > 0x7FFFFFFF
    distance = torch.where(upper, MASK - words_BW, words_BW)  # 0 .. 2^31 - 1, counted from the nearer end
    bits = (distance * 2 + 1).float().view(torch.int32)  # odd numbers: p = (2d + 1) / 2^33, never 0
    shift = 23 - SUB_BITS
    fraction = (bits & ((1 << shift) - 1)).float() * 2.0**-shift
    return upper, ((bits >> shift) - (127 << SUB_BITS)).long(), fraction


def bin_edges() -> np.ndarray:
    """float64: the tail probability at which each bin of `quantile_bins` starts, and the last one's end."""
    octaves = np.arange(33)[:, None]
    parts = 1 + np.arange(1 << SUB_BITS)[None] / (1 << SUB_BITS)
    return np.append((2.0**octaves * parts).ravel() / 2.0**33, [1.0, 1.0])


@lru_cache(maxsize=4)
def normal_table(device: torch.device) -> Tensor:
    """float32: the standard normal quantile at each edge of the lower half."""
    from scipy.special import ndtri

    return torch.from_numpy(ndtri(np.minimum(bin_edges(), 0.5)).astype(np.float32)).to(device)


def normal(words_BW: Tensor) -> Tensor:
    """float32 standard normals, one a word: the quantile function, interpolated between bin edges.

    At most 4e-6 from the exact quantile of (word + 1/2) / 2^32; |z| <= 6.34.
    """
    table = normal_table(words_BW.device)
    upper, index, fraction = quantile_bins(words_BW)
    low = table[index]
    z = low + (table[index + 1] - low) * fraction
    return torch.where(upper, -z, z)


@lru_cache(maxsize=32)
def poisson_table(rates: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor, int]:
    """The cumulative distribution of each rate in 32-bit words, and the first value of each bin.

    Returns (cdf [K, V] int64: the number of words at or below value v, first [K, 2 * bins] int64:
    the value at the low end of each bin of the lower, then of the upper half, steps: how many values
    a bin spans at most).
    """
    from scipy.stats import poisson

    values = int(poisson.isf(2.0**-34, max(rates))) + 3
    cdf = np.rint(poisson.cdf(np.arange(values), np.array(rates)[:, None]) * 2.0**32).astype(np.int64)
    cdf[:, -1] = 2**33  # every word is below it
    edges = np.minimum(np.floor((bin_edges() * 2.0**33 - 1) / 2), 2.0**31).astype(np.int64)
    lower_words, upper_words = edges[:-1], np.maximum(MASK - edges[1:], 0)
    starts = np.concatenate([lower_words, upper_words])
    ends = np.concatenate([edges[1:], MASK - edges[:-1]])
    first = np.stack([np.searchsorted(row, starts, side="right") for row in cdf])
    last = np.stack([np.searchsorted(row, ends, side="right") for row in cdf])
    steps = int((last - first).max())
    return torch.from_numpy(cdf).to(device), torch.from_numpy(first).to(device), steps


def poisson(words_BW: Tensor, rows_BW: Tensor, rates: tuple[float, ...]) -> Tensor:
    """int64 Poisson draws: the smallest v with word < 2^32 * P(X <= v).

    rows_BW: int64, which of `rates` each word draws from.
    """
    cdf, first, steps = poisson_table(rates, words_BW.device)
    upper, index, _ = quantile_bins(words_BW)
    index = index + upper * (first.shape[1] // 2)
    value = first.view(-1)[rows_BW * first.shape[1] + index]
    rows_BW = rows_BW * cdf.shape[1]
    for _ in range(steps):
        value = value + (words_BW >= cdf.view(-1)[rows_BW + value])
    return value
