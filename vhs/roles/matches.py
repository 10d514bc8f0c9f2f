"""From the tallies of a matching to rows: which head of one model is which of the other, and by how much more than
chance.

Heads are assigned one to one on half of the folds, and scored on the others: on the same images even heads of noise
find partners that suit them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from vhs.counts import Counts, from_fixed
from vhs.errors import MismatchError
from vhs.measures.intervals import benjamini_hochberg, jackknife, mean_interval
from vhs.summaries.tallied import Row, number

if TYPE_CHECKING:
    from vhs.measures.matching import Block, Matching

FEWEST = 2
"""Folds with images in each half."""
NOTHING = dict.fromkeys(
    ("layer_b", "head_b", "similarity", "similarity_lo", "similarity_hi", "across", "specific", "specific_lo",
     "specific_hi", "p_specific", "q_specific", "random", "above", "above_lo", "above_hi", "p_above", "q_above")
)  # fmt: skip


def rows(measure: Matching, sums: Counts) -> list[Row]:
    """A row a head of the model, in the order of its grid, then a row for every head of the other that is left over."""
    halves = _halves(sums)
    if min((half["n_across"].max(0) > 0).sum() for half in halves) < FEWEST:
        raise MismatchError("--against: too few images to assign heads on one half and score them on the other.")
    found: dict[tuple[int, int], Row] = {}
    taken: set[tuple[int, int]] = set()
    for blocks in _groups(measure):
        for row in _of_group(measure, halves, blocks):
            found[row["layer"], row["head"]] = row
            taken.add((row["layer_b"], row["head_b"]))
    matched = list(found.values())
    for name in ("specific", "above"):
        for row, q in zip(matched, benjamini_hochberg([row[f"p_{name}"] for row in matched]).tolist(), strict=True):
            row[f"q_{name}"] = q
    alone = [head._asdict() | NOTHING for head in measure.model.grid if (head.layer, head.head) not in found]
    left = [
        {"module": head.module, "layer": None, "head": None} | NOTHING | {"layer_b": head.layer, "head_b": head.head}
        for head in measure.other.grid if (head.layer, head.head) not in taken
    ]  # fmt: skip
    n = int(sums.total("n").max())
    return [row | {"n": n} for row in (*sorted((*matched, *alone), key=lambda row: (row["layer"], row["head"])), *left)]


def _halves(sums: Counts) -> tuple[Counts, Counts]:
    """The folds on which heads are assigned, and those on which they are scored."""
    half = sums.values.shape[1] // 2
    return Counts(sums.values[:, :half], sums.fields), Counts(sums.values[:, half:], sums.fields)


def _groups(measure: Matching) -> list[list[Block]]:
    """Blocks among which heads are assigned: each layer alone, or all where every layer is compared with every."""
    paired = all(block.layer == block.other for block in measure.blocks)
    return [[block] for block in measure.blocks] if paired else [list(measure.blocks)]


def _of_group(measure: Matching, halves: tuple[Counts, Counts], blocks: list[Block]) -> Iterator[Row]:
    from scipy.optimize import linear_sum_assignment

    places = {}
    for block in blocks:
        counts = measure.model.grid.per_layer[block.layer], measure.other.grid.per_layer[block.other]
        for a in range(counts[0]):
            for b in range(counts[1]):
                places[(block.layer, a), (block.other, b)] = block.first + a * counts[1] + b
    ours, theirs = (sorted({pair[side] for pair in places}) for side in (0, 1))
    pair_HI = np.array([[places[a, b] for b in theirs] for a in ours])
    assigning, scoring = halves
    similarity_HI = _left_out(assigning, "")[0][pair_HI]
    for i, j in zip(*linear_sum_assignment(similarity_HI, maximize=True), strict=True):
        names = zip(("layer", "head", "layer_b", "head_b"), (*ours[i], *theirs[j]), strict=True)
        module = measure.model.grid.module(ours[i][0])
        yield {"module": module} | {name: int(value) for name, value in names} | _scored(scoring, pair_HI[i], int(j))


def _scored(counts: Counts, pairs_I: np.ndarray, match: int) -> Row:
    """Of one head and its match: similarity, and what is beyond other images and a random partner."""
    own = Counts(counts.values[pairs_I], counts.fields)
    total, squares, n = (own.total(name)[match] for name in ("value", "value_sq", "n"))
    value, lo, hi = (float(part) for part in mean_interval(total, squares, n))
    same_FI, across_FI = (
        np.concatenate([whole[None], left]) for whole, left in (_left_out(own, ""), _left_out(own, "across"))
    )
    specific = _beyond(same_FI[:, match] - across_FI[:, match])
    above = _beyond(same_FI[:, match] - same_FI.mean(1))
    return {
        "similarity": value, "similarity_lo": number(lo), "similarity_hi": number(hi),
        "across": float(across_FI[0, match]), "random": float(same_FI[0].mean()),
    } | {f"{name}{end}": part for name, found in (("specific", specific), ("above", above))
         for end, part in zip(("", "_lo", "_hi"), found, strict=False)} | {
        "p_specific": specific[3], "p_above": above[3],
    }  # fmt: skip


def _beyond(values_F: np.ndarray) -> tuple[float, float, float, float]:
    """(difference, lo, hi, one-sided p that it is not above 0), from the whole and from leaving out each fold."""
    from scipy.special import stdtr

    value = float(values_F[0])
    lo, hi, error = jackknife(values_F[0], values_F[1:])
    certain = float(np.copysign(np.inf, value)) if round(value, 9) else 0.0  # 0 but for rounding is no difference
    t = value / float(error) if error > 1e-12 else certain
    return value, float(lo), float(hi), float(stdtr(len(values_F) - 2, -t))


def _left_out(counts: Counts, what: str) -> tuple[np.ndarray, np.ndarray]:
    """([J], [F, J]): the mean over all folds, and without each."""
    value, n = counts[what or "value"], counts["n_across" if what else "n"]
    whole, count = value.sum(-1, keepdims=True), n.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = from_fixed(whole - value) / (count - n)
        return (from_fixed(whole) / count)[:, 0], left.T
