"""Random fields from a counter-based generator: a pure function of (key, sample, element).

Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): on the CPU NumPy's
own, elsewhere the same integers in torch operations. Normals and Poissons come from tables indexed
by the bits of the draw, with one multiplication and one addition, which IEEE 754 rounds alike
everywhere. So a field has the same bits at any batch size, order, thread count and device; a
Box-Muller transform would not.

Letters: B samples, W words (32 random bits each, held in int32), K table rows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

MASK = 0xFFFFFFFF
SIGN = -(2**31)
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
ROUNDS = 10
SUB_BITS = 7
"""Each octave of probability is cut into 2^SUB_BITS bins."""
SHIFT = 23 - SUB_BITS
"""Bits of a float32's fraction below the bin's."""


def words(keys_B: Tensor, count: int, key: int, stream: int = 0) -> Tensor:
    """int32 [B, count] of 32 random bits each.

    keys_B: int64 sample hashes; key: 64-bit hash of (seed, purpose); stream: tells several fields
    of one purpose apart. A sample's words are NumPy's `Philox(counter=[0, 0, stream, 0], key=[key,
    sample]).random_raw()`, the low half of each 64 bits first.
    """
    blocks = -(-count // 8)
    if keys_B.device.type == "cpu":
        return _words_by_numpy(keys_B, blocks, key, stream)[:, :count]
    numbers = torch.arange(1, blocks + 1, device=keys_B.device).expand(len(keys_B), -1)
    return philox(numbers, keys_B[:, None].expand_as(numbers), key, stream).view(torch.int32)[:, :count]


def _words_by_numpy(keys_B: Tensor, blocks: int, key: int, stream: int) -> Tensor:
    counter = np.array([0, 0, stream, 0], np.uint64)
    out = np.empty((len(keys_B), 4 * blocks), np.uint64)
    for row, sample in zip(out, keys_B.numpy().view(np.uint64), strict=True):
        generator = np.random.Philox(counter=counter, key=np.array([key, sample], np.uint64))
        row[:] = generator.random_raw(4 * blocks)
    return torch.from_numpy(out.view(np.int32))


def philox(blocks_BN: Tensor, samples_BN: Tensor, key: int, stream: int) -> Tensor:
    """Philox4x64-10 in int64 operations, for devices that NumPy does not serve.

    blocks_BN: the low word of the counter; samples_BN: the second key word. Returns int64 [B, 4 N].
    """
    nothing = torch.zeros_like(blocks_BN)
    c0, c1, c2, c3 = blocks_BN, nothing, nothing + stream, nothing
    k0, k1 = key, samples_BN
    for _ in range(ROUNDS):
        p0, p1 = (_multiply(c, m) for c, m in zip((c0, c2), MULTIPLIERS, strict=True))
        c0, c1, c2, c3 = p1[0] ^ c1 ^ _as_signed(k0), p1[1], p0[0] ^ c3 ^ k1, p0[1]
        k0, k1 = k0 + WEYL[0], k1 + _as_signed(WEYL[1])
    return torch.stack([c0, c1, c2, c3], dim=-1).flatten(1)


def _multiply(x: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The high and low 64 bits of an unsigned product, by halves; int64 sums and products wrap."""
    low, high = x & MASK, (x >> 32) & MASK
    factor_low, factor_high = factor & MASK, factor >> 32
    cross, crossed = low * factor_high, high * factor_low
    middle = _upper(low * factor_low) + (cross & MASK) + (crossed & MASK)
    return high * factor_high + _upper(cross) + _upper(crossed) + _upper(middle), x * _as_signed(factor)


def _upper(x: Tensor) -> Tensor:
    return (x >> 32) & MASK


def _as_signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number."""
    value &= 2**64 - 1
    return value - 2**64 if value >> 63 else value


def uniform(words_BW: Tensor) -> Tensor:
    """float32 in [0, 1): the top 24 bits, exactly."""
    return ((words_BW >> 8) & 0xFFFFFF).float().mul_(2.0**-24)


def below(words_BW: Tensor, bound: int) -> Tensor:
    """int32 in 0..bound-1 from the low 16 bits of each word; odds are equal to one part in 65536 / bound."""
    return (words_BW & 0xFFFF).mul_(bound).bitwise_right_shift_(16)


def quantile_bins(words_BW: Tensor) -> tuple[Tensor, Tensor]:
    """Cut [0, 1) into bins that get finer towards both ends, and find each word's bin.

    The top bit says which half; the other 31 bits, as a float, give an octave and its part, so that
    the tails are resolved as finely, in relative terms, as the middle.
    Returns (bin, fraction): the bin counted from the nearer end (int32), the position in it (float32 in [0, 1)).
    """
    bits = _tail_bits(words_BW)
    fraction = (bits & ((1 << SHIFT) - 1)).float().mul_(2.0**-SHIFT)
    return bits.bitwise_right_shift_(SHIFT).sub_(127 << SUB_BITS), fraction


def _tail_bits(words_BW: Tensor) -> Tensor:
    """int32: the bits of a float32, the distance from the nearer end; the octave, then its part."""
    distance = (words_BW >> 31).bitwise_xor_(words_BW)  # 0 .. 2^31 - 1
    return distance.float().mul_(2).add_(1).view(torch.int32)  # odd numbers: p = (2d + 1) / 2^33, never 0


def bin_edges() -> np.ndarray:
    """float64: the tail probability at which each bin of `quantile_bins` starts, and the last one's end."""
    octaves = np.arange(33)[:, None]
    parts = 1 + np.arange(1 << SUB_BITS)[None] / (1 << SUB_BITS)
    return np.append((2.0**octaves * parts).ravel() / 2.0**33, [1.0, 1.0])


@lru_cache(maxsize=4)
def normal_table(device: torch.device) -> tuple[Tensor, Tensor]:
    """float32: the standard normal quantile at each edge of the lower half, and the step to the next."""
    from scipy.special import ndtri

    table = torch.from_numpy(ndtri(np.minimum(bin_edges(), 0.5)).astype(np.float32))
    return table[:-1].to(device), table.diff().to(device)


def normal(words_BW: Tensor) -> Tensor:
    """float32 standard normals, one a word: the quantile function, interpolated between bin edges.

    At most 4e-6 from the exact quantile of (word + 1/2) / 2^32; |z| <= 6.34.
    """
    start, step = normal_table(words_BW.device)
    index, fraction = quantile_bins(words_BW)
    z = pick(step, index).mul_(fraction).add_(pick(start, index))
    return z.view(torch.int32).bitwise_xor_(words_BW & SIGN).view(torch.float32)  # the upper half is the lower's mirror


@lru_cache(maxsize=32)
def poisson_table(rates: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor, int]:
    """The cumulative distribution of each rate in 32-bit words, and the first value of each bin.

    Returns (last [K, V] int32: the highest word at or below value v, minus 2^31, first [K, 2 * bins]
    int16: twice the value at the low end of each bin of the lower, then of the upper half, and 1 where the
    bin spans more, steps: how many values a bin spans at most).
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
    final = np.stack([np.searchsorted(row, ends, side="right") for row in cdf])
    last = np.clip(cdf - 1 - 2**31, -(2**31), 2**31 - 1).astype(np.int32)
    return (
        torch.from_numpy(last).to(device),
        torch.from_numpy((2 * first + (final > first)).astype(np.int16)).to(device),
        int((final - first).max()),
    )


def poisson(words_BW: Tensor, rows_BW: Tensor, rates: tuple[float, ...]) -> Tensor:
    """int32 Poisson draws: the smallest v with word < 2^32 * P(X <= v).

    rows_BW: int32, which of `rates` each word draws from.
    """
    last, first, steps = poisson_table(rates, words_BW.device)
    index = _tail_bits(words_BW).bitwise_right_shift_(SHIFT).sub_(127 << SUB_BITS)
    index.sub_(words_BW >> 31, alpha=first.shape[1] // 2).add_(rows_BW, alpha=first.shape[1])
    found = pick(first.view(-1), index)
    value = (found >> 1).int()
    ordered = words_BW ^ SIGN  # unsigned order as signed order
    if words_BW.device.type != "cpu":
        return _climb(value, ordered, rows_BW, last, steps)
    unsure = torch.from_numpy(np.flatnonzero(found.bitwise_and_(1).to(torch.uint8).numpy().view(bool)))
    some, words, rows = (pick(values.reshape(-1), unsure) for values in (value, ordered, rows_BW))
    value.view(-1)[unsure] = _climb(some, words, rows, last, steps)
    return value


def _climb(value: Tensor, ordered: Tensor, rows: Tensor, last: Tensor, steps: int) -> Tensor:
    """From the value at the low end of a word's bin to the word's own."""
    place = value + rows * last.shape[1]
    for _ in range(steps):
        place += ordered > pick(last.view(-1), place)
    return place - rows * last.shape[1]


def pick(table_K: Tensor, index: Tensor) -> Tensor:
    """table_K[index]; `index_select` takes an eighth of the time of plain indexing on a CPU."""
    return table_K.index_select(0, index.flatten()).view(index.shape)


def pick_rows(table: Tensor, index: Tensor) -> Tensor:
    """The table's values along its last axis at int32 `index`, whose other axes are the table's or of length 1."""
    index = index.expand(*table.shape[:-1], -1)
    if table.device.type != "cpu":
        return table.gather(-1, index.long())
    rows = torch.arange(table[..., 0].numel(), dtype=torch.int32).view(*table.shape[:-1], 1)
    return pick(table.reshape(-1), rows.mul_(table.shape[-1]) + index)
