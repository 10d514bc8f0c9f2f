"""What is no mean over images but made of sums of them: offsets, shares of displacements, alignment, regions.

Sums come by name, fixed point turned to floats, of any shape; so that `intervals.jackknifed` makes value and interval
of any of these, and a table of summed tallies needs no network. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def offset(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Distance of the aligned map's centroid from its middle, 0 to sqrt(2). sums: n, down, right; any shape."""
    n = np.maximum(sums["n"], 1)
    return np.hypot(sums["down"] / n, sums["right"] / n)


def positional(counts_D: np.ndarray) -> np.ndarray:
    """[...]: the share of interior queries whose strongest patch lies at the commonest displacement."""
    return counts_D.max(-1) / np.maximum(counts_D.sum(-1), 1e-12)


def cka(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """1 for outputs that are equal up to rotation and scale, about 0 for unrelated ones. sums: ab, aa, bb."""
    scale = np.sqrt(np.maximum(sums["aa"], 0.0) * np.maximum(sums["bb"], 0.0))
    return np.where(scale > 0, sums["ab"] / np.where(scale > 0, scale, 1), np.nan)


def enrichment(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Attention on the region per area, over that on the whole image; 0 or more, 1 for even attention."""
    return _density(sums["inside"], sums["area"], sums["all"], sums["patches"])


def reference(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the enrichment is where the region is not: on the bare twin, or at its place in other images."""
    return _density(sums["ref_inside"], sums["ref_area"], sums["ref_all"], sums["patches"])


def excess(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Enrichment beyond its reference: what a head does because the region is there."""
    return enrichment(sums) - reference(sums)


def selectivity(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """(density inside - density outside) / their sum; -1 to 1, 0 for even attention."""
    inside = _over(sums["inside"], sums["area"])
    outside = _over(sums["all"] - sums["inside"], sums["patches"] - sums["area"])
    return _over(inside - outside, inside + outside)


OF_REGIONS = {
    "region_enrichment": enrichment, "region_reference": reference, "region_excess": excess,
    "region_selectivity": selectivity,
}  # fmt: skip


def _density(inside: np.ndarray, area: np.ndarray, every: np.ndarray, patches: np.ndarray) -> np.ndarray:
    return _over(_over(inside, area), _over(every, patches))


def _over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(b != 0, a / np.where(b != 0, b, 1), np.nan)
