"""From the tallies of a matching to rows: which head of one model is which of the other, and by how much more than
chance.

Heads are assigned one to one on half of the folds, and scored on the others: on the same images even heads of noise
find partners that suit them. A head that is left over gets the head of the other model that it is most like, chosen on
the same half; what that says is that nothing of it came across where even this one is no better than chance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vhs.counts import Counts, from_fixed
from vhs.errors import MismatchError
from vhs.measures.cells import CELLS
from vhs.measures.intervals import benjamini_hochberg, jackknife, mean_interval
from vhs.measures.listing import Facing, Matchings
from vhs.summaries.tallied import Row, number

FEWEST = 2
"""Folds with images in each half."""
NOTHING = dict.fromkeys(
    ("layer_b", "head_b", "similarity", "similarity_lo", "similarity_hi", "across", "specific", "specific_lo",
     "specific_hi", "p_specific", "q_specific", "random", "above", "above_lo", "above_hi", "p_above", "q_above",
     *(f"jsd_{cell}{end}" for cell in CELLS for end in ("", "_lo", "_hi")), *(f"n_{cell}" for cell in CELLS))
)  # fmt: skip


def rows(listing: Matchings, sums: Counts, cells: Counts | None = None) -> list[Row]:
    """A row a head of the model, in the order of its grid, then a row for every head of the other that is left over.

    sums, cells: of the matching; without cells nothing is said by who answers right.
    """
    halves = _halves(sums)
    if min((half["n_across"].max(0) > 0).sum() for half in halves) < FEWEST:
        raise MismatchError("--against: too few images to assign heads on one half and score them on the other.")
    found = [row for blocks in _groups(listing) for row in _of_group(listing, halves, cells, blocks)]
    for assigned in ("yes", "own", "other"):
        alike = [row for row in found if row["assigned"] == assigned]
        for name in ("specific", "above"):
            for row, q in zip(alike, benjamini_hochberg([row[f"p_{name}"] for row in alike]).tolist(), strict=True):
                row[f"q_{name}"] = q
    of_own = {(row["layer"], row["head"]): row for row in found if row["assigned"] != "other"}
    alone = [head._asdict() | NOTHING for head in listing.own if (head.layer, head.head) not in of_own]
    of_other = {(row["layer_b"], row["head_b"]) for row in found if row["assigned"] != "own"}
    left = [
        {"module": head.module, "layer": None, "head": None} | NOTHING | {"layer_b": head.layer, "head_b": head.head}
        for head in listing.other if (head.layer, head.head) not in of_other
    ]  # fmt: skip
    n = int(sums.total("n").max())
    first = sorted((*of_own.values(), *alone), key=lambda row: (row["layer"], row["head"]))
    theirs = [row for row in found if row["assigned"] == "other"]
    last = sorted((*theirs, *left), key=lambda row: (row["layer_b"], row["head_b"]))
    named = {"yes": "yes", "own": "no", "other": "no", None: "no"}
    return [row | {"n": n, "assigned": named[row.get("assigned")]} for row in (*first, *last)]


def _halves(sums: Counts) -> tuple[Counts, Counts]:
    """The folds on which heads are assigned, and those on which they are scored."""
    half = sums.values.shape[1] // 2
    return Counts(sums.values[:, :half], sums.fields), Counts(sums.values[:, half:], sums.fields)


def _groups(listing: Matchings) -> list[list[Facing]]:
    """Blocks among which heads are assigned: each layer alone, or all where every layer is compared with every."""
    paired = all(block.layer == block.other for block in listing.blocks)
    return [[block] for block in listing.blocks] if paired else [list(listing.blocks)]


def _of_group(
    listing: Matchings, halves: tuple[Counts, Counts], cells: Counts | None, blocks: list[Facing]
) -> Iterator[Row]:  # fmt: skip
    """Matched heads, then those of either model that are left over, each with the head that it is most like."""
    from scipy.optimize import linear_sum_assignment

    places = {}
    for block in blocks:
        counts = listing.own.per_layer[block.layer], listing.other.per_layer[block.other]
        for a in range(counts[0]):
            for b in range(counts[1]):
                places[(block.layer, a), (block.other, b)] = block.first + a * counts[1] + b
    ours, theirs = (sorted({pair[side] for pair in places}) for side in (0, 1))
    pair_HI = np.array([[places[a, b] for b in theirs] for a in ours])
    assigning, scoring = halves
    similarity_HI = _left_out(assigning, "")[0][pair_HI]
    pairs = list(zip(*(part.tolist() for part in linear_sum_assignment(similarity_HI, maximize=True)), strict=True))
    kept = {i for i, _ in pairs}, {j for _, j in pairs}
    found = [("yes", i, j) for i, j in pairs]
    found += [("own", i, int(similarity_HI[i].argmax())) for i in range(len(ours)) if i not in kept[0]]
    found += [("other", int(similarity_HI[:, j].argmax()), j) for j in range(len(theirs)) if j not in kept[1]]
    for assigned, i, j in found:
        names = zip(("layer", "head", "layer_b", "head_b"), (*ours[i], *theirs[j]), strict=True)
        module = listing.own.module(ours[i][0])
        partners, match = (pair_HI[:, j], i) if assigned == "other" else (pair_HI[i], j)
        yield (
            {"assigned": assigned, "module": module} | {name: int(value) for name, value in names}
            | _scored(scoring, partners, match) | _by_answers(cells, int(pair_HI[i, j]))
        )  # fmt: skip


def _by_answers(cells: Counts | None, pair: int) -> Row:
    """Of two heads the divergence of their maps by who answers an image right, over all images."""
    found: Row = {}
    if cells is None or not cells.total("n")[:, pair].any():
        return {name: None for name in NOTHING if name.startswith(("jsd_", "n_"))}
    for index, name in enumerate(CELLS):
        own = Counts(cells.values[index, pair], cells.fields)
        total, squares, n = (int(own.total(part)) for part in ("value", "value_sq", "n"))
        parts = [float(part) for part in mean_interval(total, squares, n)] if n else [np.nan] * 3
        value, lo, hi = (number(part) if np.isfinite(part) else None for part in parts)
        found |= {f"jsd_{name}": value, f"jsd_{name}_lo": lo, f"jsd_{name}_hi": hi, f"n_{name}": n}
    return found


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
