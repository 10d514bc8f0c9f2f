"""Heads laid out by how differently they attend: a plane, an order, clusters. NumPy and SciPy only.

All from distances sqrt(JSD), which is a metric (Endres & Schindelin 2003); JSD is not.

Letters: G heads.
"""

from __future__ import annotations

import numpy as np

MOST_CLUSTERS = 10


def plane(distances_GG: np.ndarray) -> np.ndarray:
    """float64 [G, 2]: classical scaling (Torgerson 1952), by falling spread; signs such that the farthest head is
    positive in each axis."""
    count = len(distances_GG)
    centre = np.eye(count) - 1 / count
    values, vectors = np.linalg.eigh(-centre @ distances_GG**2 @ centre / 2)
    found = vectors[:, ::-1][:, :2] * np.sqrt(np.maximum(values[::-1][:2], 0))
    signs = np.sign(np.take_along_axis(found, np.abs(found).argmax(0)[None], 0))
    return found * np.where(signs == 0, 1, signs)


def order(distances_GG: np.ndarray) -> np.ndarray:
    """int64 [G]: each head's place in the order in which neighbours are most alike (optimal leaf order of the tree)."""
    from scipy.cluster.hierarchy import leaves_list, optimal_leaf_ordering

    leaves = leaves_list(optimal_leaf_ordering(_tree(distances_GG), _condensed(distances_GG)))
    places = np.empty(len(leaves), np.int64)
    places[leaves] = np.arange(len(leaves))
    return places


def clusters(distances_GG: np.ndarray) -> np.ndarray:
    """int64 [G] from 0, the largest first: average linkage, cut at the largest mean silhouette (Rousseeuw 1987)."""
    from scipy.cluster.hierarchy import fcluster

    tree = _tree(distances_GG)
    every = (fcluster(tree, k, "maxclust") for k in range(2, min(MOST_CLUSTERS, len(distances_GG) - 1) + 1))
    cuts = [labels for labels in every if labels.max() > 1]
    if not cuts:  # heads that are all alike
        return np.zeros(len(distances_GG), np.int64)
    best = max(cuts, key=lambda labels: silhouette(distances_GG, labels))
    names, counts = np.unique(best, return_counts=True)
    by_size = names[np.lexsort((names, -counts))]
    return np.argsort(by_size)[np.searchsorted(names, best)]


def silhouette(distances_GG: np.ndarray, labels_G: np.ndarray) -> float:
    """Mean over heads of (nearest other cluster - own) / the larger of both mean distances; 0 for a head alone."""
    member = labels_G[:, None] == np.unique(labels_G)[None]
    sizes = member.sum(0)
    sums = distances_GG @ member
    own = (sums * member).sum(1) / np.maximum((member @ sizes) - 1, 1)
    other = np.where(member, np.inf, sums / sizes).min(1)
    scale = np.maximum(np.maximum(own, other), 1e-12)
    return float(np.where((member @ sizes) == 1, 0.0, (other - own) / scale).mean())


def _tree(distances_GG: np.ndarray) -> np.ndarray:
    from scipy.cluster.hierarchy import linkage

    return linkage(_condensed(distances_GG), "average")


def _condensed(distances_GG: np.ndarray) -> np.ndarray:
    from scipy.spatial.distance import squareform

    return squareform(distances_GG, checks=False)
