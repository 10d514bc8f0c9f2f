"""What can be decoded from each head: linear probes of attributes, balanced so that no attribute stands for another.

Ridge regression on one-hot values, one solution for all heads at once. Half of the folds fit, the other half is
answered; the penalty is chosen within the fitting half. Images are weighted (in both halves) so that every value of the
attribute counts alike and is as often beside any value of the others as any other: else a probe of a robust attribute
reads its shortcut.

Letters: N images, G heads, W features, K values of an attribute, A attributes, F folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Of the ridge, relative to the mean square of a feature."""
INNER = 5
FEWEST = 4
"""Images of a value, in each half, from which on it is asked for."""
ROUNDS = 200
CHUNK = 1 << 25
"""About so many answers (heads x images x values) are held at once."""


@dataclass(frozen=True)
class Attribute:
    """values_N: int64, -1 where an image's value is not asked for; count: how many values there are; outputs: the
    network's output that each is the name of, None where they have other names."""

    name: str
    values_N: np.ndarray
    count: int
    outputs: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Halves:
    """Which images fit and which are answered, bool [N]; inner_N: the part of the fitting half an image is in."""

    fit_N: np.ndarray
    inner_N: np.ndarray

    @classmethod
    def of(cls, folds_N: np.ndarray, folds: int) -> Halves:
        """Folds below the middle fit."""
        return cls(folds_N < folds // 2, folds_N % INNER)


Column = tuple[np.ndarray, Sequence[int]]
"""Each image's value, a number; and of each number the network's output that has its name, or -1."""


def attributes(columns: dict[str, Column], halves: Halves) -> list[Attribute]:
    """Those with two values or more that both halves have FEWEST images of."""
    found: list[Attribute] = []
    for name, (values, outputs) in columns.items():
        known = np.unique(values)
        counts = [[((values == value) & half).sum() for value in known] for half in (halves.fit_N, ~halves.fit_N)]
        kept = known[np.min(counts, axis=0) >= FEWEST]
        place = np.full(int(known.max()) + 1, -1)
        place[kept] = np.arange(len(kept))
        named = tuple(outputs[value] for value in kept)
        attribute = Attribute(name, place[values], len(kept), named if min(named, default=-1) >= 0 else None)
        if len(kept) > 1:
            found.append(attribute)
    return found


def same(a: Attribute, b: Attribute) -> bool:
    """Whether each value of one goes with one value of the other."""
    pairs = len(np.unique(np.stack([a.values_N, b.values_N]), axis=1).T)
    return pairs == len(np.unique(a.values_N)) == len(np.unique(b.values_N))


def balanced(attribute: Attribute, others: Sequence[Attribute], chosen_N: np.ndarray) -> np.ndarray:
    """float64 [N], summing to 1: weights of the chosen images that make the attribute's values alike and independent of
    each other attribute (iterative proportional fitting; with one other attribute it is done in one step)."""
    use = chosen_N & (attribute.values_N >= 0)
    weights = use / use.sum()
    for _ in range(ROUNDS):
        before = weights
        for other in others or (attribute,):
            own, beside = attribute.values_N[use], other.values_N[use] + 1
            cells = np.zeros((attribute.count, int(beside.max()) + 1))
            np.add.at(cells, (own, beside), weights[use])
            share = cells.sum(0) if other is not attribute else (cells.sum(0) > 0).astype(float)
            present = (cells > 0).sum(0)
            target = share / np.maximum(present, 1)
            factor = np.divide(target, cells, out=np.zeros_like(cells), where=cells > 0)
            weights = weights.copy()
            weights[use] *= factor[own, beside]
            totals = np.bincount(own, weights[use], attribute.count)
            weights[use] /= (totals * attribute.count)[own]
        if np.abs(weights - before).max() <= 1e-12:
            break
    return weights


def entangled(attribute: Attribute, other: Attribute, weights_N: np.ndarray) -> float:
    """Cramér's V of two attributes under these weights: 0 where they are independent, 1 where one tells the other."""
    use = (attribute.values_N >= 0) & (other.values_N >= 0)
    cells = np.zeros((attribute.count, other.count))
    np.add.at(cells, (attribute.values_N[use], other.values_N[use]), weights_N[use])
    cells /= max(cells.sum(), 1e-300)
    expected = cells.sum(1, keepdims=True) * cells.sum(0, keepdims=True)
    ratio = np.divide((cells - expected) ** 2, expected, out=np.zeros_like(cells), where=expected > 0)
    return float(np.sqrt(ratio.sum() / max(min(cells.shape) - 1, 1)))


def answers(
    features_GNW: Tensor, attribute: Attribute, weights_N: np.ndarray, halves: Halves,
    labels_N: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """bool [G, N]: whether each head's probe answers right, of the images that did not fit it (others: False).

    weights_N: of both halves, each summing to 1; labels_N: what is fitted instead of the attribute's values (shuffled).
    """
    heads, images, _ = features_GNW.shape
    chunk = max(1, CHUNK // max(images * attribute.count, 1))
    parts = [
        _answers(features_GNW[start : start + chunk], attribute, weights_N, halves, labels_N)
        for start in range(0, heads, chunk)
    ]
    return np.concatenate(parts)


def _answers(
    features_GNW: Tensor, attribute: Attribute, weights_N: np.ndarray, halves: Halves, labels_N: np.ndarray | None
) -> np.ndarray:  # fmt: skip
    device = features_GNW.device
    fit = np.flatnonzero(halves.fit_N & (weights_N > 0))
    labels = torch.from_numpy(attribute.values_N if labels_N is None else labels_N)[fit].to(device)
    weights_n = torch.from_numpy(weights_N[fit]).to(device)
    x_GnW = features_GNW[:, torch.from_numpy(fit).to(device)].double()
    middle = (weights_n[:, None] * x_GnW).sum(1, keepdim=True)
    scale = (weights_n[:, None] * (x_GnW - middle) ** 2).sum(1, keepdim=True).sqrt().clamp(min=1e-12)
    x_GnW = (x_GnW - middle) / scale
    one_hot_nK = torch.nn.functional.one_hot(labels, attribute.count).double()
    penalty_G = _penalties(x_GnW, one_hot_nK, labels, weights_n, torch.from_numpy(halves.inner_N[fit]).to(device))
    found_GWK, base_K = _solve(x_GnW, one_hot_nK, weights_n, penalty_G)
    right = np.zeros(features_GNW.shape[:2], bool)
    asked = np.flatnonzero(~halves.fit_N & (weights_N > 0))
    y_GmW = (features_GNW[:, torch.from_numpy(asked).to(device)].double() - middle) / scale
    given = (y_GmW @ found_GWK + base_K).argmax(-1)
    right[:, asked] = (given == torch.from_numpy(attribute.values_N[asked]).to(device)).cpu().numpy()
    return right


def given_answers(
    direct_GNC: Tensor, attribute: Attribute, weights_N: np.ndarray, halves: Halves
) -> np.ndarray:  # fmt: skip
    """bool [G, N]: whether the output that each head gives most to is the one of the image's value; nothing is fitted,
    but that a head's mean gift to each output is taken off, and that outputs without the values' names are assigned to
    these, one to one, as agrees best in the fitting half."""
    fit_N = halves.fit_N & (weights_N > 0)
    device = direct_GNC.device
    weights_n = torch.from_numpy(weights_N[fit_N]).to(device)
    fit = torch.from_numpy(np.flatnonzero(fit_N)).to(device)
    middle = (direct_GNC[:, fit].double() * weights_n[:, None]).sum(1, keepdim=True) / weights_n.sum()
    centred = direct_GNC.double() - middle
    if attribute.outputs is not None:
        said_GN = centred[..., list(attribute.outputs)].argmax(-1).cpu().numpy()
    else:
        said_GN = _assigned(centred.argmax(-1).cpu().numpy(), attribute, weights_N * fit_N, centred.shape[-1])
    return (said_GN == attribute.values_N) & ~halves.fit_N & (weights_N > 0)


def _assigned(outputs_GN: np.ndarray, attribute: Attribute, weights_N: np.ndarray, count: int) -> np.ndarray:
    """[G, N]: the value that each output stands for, by head; -1 for none."""
    from scipy.optimize import linear_sum_assignment

    found = np.full_like(outputs_GN, -1)
    use = weights_N > 0
    for said, row in zip(outputs_GN, found, strict=True):
        together = np.zeros((count, attribute.count))
        np.add.at(together, (said[use], attribute.values_N[use]), weights_N[use])
        stands_for = np.full(count, -1)
        outputs, values = linear_sum_assignment(-together)
        stands_for[outputs] = values
        row[:] = stands_for[said]
    return found


def _solve(x_GnW: Tensor, one_hot_nK: Tensor, weights_n: Tensor, penalty_G: Tensor) -> tuple[Tensor, Tensor]:
    """([G, W, K], [K]): weighted ridge regression; the features are centred, the constant is the weighted share."""
    base_K = (weights_n[:, None] * one_hot_nK).sum(0) / weights_n.sum()
    weighted_GnW = x_GnW * weights_n[:, None] / weights_n.sum()
    gram = weighted_GnW.mT @ x_GnW
    gram.diagonal(dim1=-2, dim2=-1).add_(penalty_G[:, None])
    return torch.linalg.solve(gram, weighted_GnW.mT @ (one_hot_nK - base_K)), base_K


def _penalties(x_GnW: Tensor, one_hot_nK: Tensor, labels_n: Tensor, weights_n: Tensor, inner_n: Tensor) -> Tensor:
    """[G]: of PENALTIES the one whose answers on left-out parts of the fitting half are best; of equals the largest."""
    scores = torch.zeros(len(PENALTIES), len(x_GnW), dtype=torch.float64, device=x_GnW.device)
    for part in range(INNER):
        inside, out = inner_n != part, inner_n == part
        for index, penalty in enumerate(PENALTIES):
            each_G = torch.full((len(x_GnW),), penalty, dtype=torch.float64, device=x_GnW.device)
            found, base = _solve(x_GnW[:, inside], one_hot_nK[inside], weights_n[inside], each_G)
            right_Gm = (x_GnW[:, out] @ found + base).argmax(-1) == labels_n[out]
            scores[index] += (right_Gm * weights_n[out]).sum(1)
    best_G = (scores.round(decimals=9).flip(0).argmax(0) - len(PENALTIES) + 1).abs()
    return torch.tensor(PENALTIES, dtype=torch.float64, device=x_GnW.device)[best_G]


def principal(features_NW: Tensor, fit_N: Tensor, count: int) -> Tensor:
    """[N, count]: the first principal components, of the images that fit; the features themselves if no more."""
    if features_NW.shape[1] <= count:
        return features_NW
    middle = features_NW[fit_N].mean(0)
    _, _, directions = torch.linalg.svd((features_NW[fit_N] - middle).double(), full_matrices=False)
    return ((features_NW - middle).double() @ directions[:count].T).float()


def difference(a_GN: np.ndarray, b_GN: np.ndarray, weights_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(weighted mean of a - b by image, its standard error), [G], for answers of the same images.

    One image more and one less are added to the error, each of the weight that an effective image has: with a few heavy
    images the level of a test is .09 else.
    """
    change, whole = a_GN.astype(float) - b_GN, weights_N.sum()
    mean = change @ weights_N / whole
    added = 2 * (whole / effective(weights_N)) ** 2
    return mean, np.sqrt((change - mean[:, None]) ** 2 @ weights_N**2 + added) / whole


def effective(weights_N: np.ndarray) -> float:
    """How many images of equal weight tell as much (Kish)."""
    return float(weights_N.sum() ** 2 / (weights_N**2).sum())
