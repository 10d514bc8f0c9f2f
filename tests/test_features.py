"""What heads follow: known features, partial correlations against SciPy, planted heads, and how often chance is taken
for following."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter

from vhs.measures import features
from vhs.measures.head_values import shifts_of

GRID = (7, 9)
PATCHES = GRID[0] * GRID[1]


def smooth(rng: np.random.Generator, count: int, sigma: float = 1.2) -> np.ndarray:
    """[count, P]: unrelated smooth maps."""
    noise = rng.standard_normal((count, *GRID))
    return np.stack([gaussian_filter(one, sigma) for one in noise]).reshape(count, PATCHES)


def test_features_of_made_images() -> None:
    image = torch.zeros(1, 3, 32, 48)
    image[..., :8, :8] = 200  # a bright square: edges at its sides, a corner inside the grid
    image[..., 16:24, 24:32] = (torch.arange(8) % 2 * 255)[:, None]  # stripes
    image[0, 0, 24:, 40:] = 255  # red
    found = features.of_images(image, (4, 6))[0]
    cells = {name: found[index].view(4, 6) for index, name in enumerate(features.NAMES)}
    assert cells["brightness"][0, 0] == pytest.approx(200) and cells["brightness"][0, 5] == 0
    assert cells["texture"].argmax() == 2 * 6 + 3
    assert cells["colour"].argmax() == 3 * 6 + 5 and cells["colour"][0, 0] == pytest.approx(0, abs=1e-4)
    assert cells["edges"][1, 0] > 0 and cells["edges"][0, 3] == 0
    assert cells["corners"][1, 1] > cells["corners"][1, 0] or cells["corners"][0, 0] > 0
    assert cells["centre"].argmax().item() in (8, 9, 14, 15) and cells["centre"][0, 0] == cells["centre"].min()


def test_grey_images_have_no_colour() -> None:
    grey = torch.arange(0, 240, dtype=torch.uint8).view(1, 1, 12, 20).expand(1, 3, -1, -1)
    assert features.of_images(grey, (3, 5))[0, features.NAMES.index("colour")].abs().max() == 0


def test_ranks_share_their_mean() -> None:
    values = torch.tensor([[3.0, 1.0, 3.0, 2.0, 1.0, 1.0]])
    ranks = stats.rankdata(values[0].numpy())
    want = (ranks - ranks.mean()) / np.linalg.norm(ranks - ranks.mean())
    assert np.allclose(features.ranked(values)[0], want, atol=1e-6)
    assert features.ranked(torch.full((2, 5), 4.0)).abs().max() == 0


def test_partial_correlations_are_those_of_residuals() -> None:
    rng = np.random.default_rng(0)
    maps, images = smooth(rng, 2), smooth(rng, 6)
    images[1] += images[0]
    images[2] -= 0.5 * images[0]
    looks = features.ranked(torch.from_numpy(maps).float()[None])
    of = features.ranked(torch.from_numpy(images).float()[None])
    got = features.partial_correlations((looks @ of.mT), (of @ of.mT)[:, None])[0]
    ranks = [stats.rankdata(row) for row in images]
    for head in range(2):
        mine = stats.rankdata(maps[head])
        for index in range(6):
            if index >= features.OVERLAPPING:
                want = stats.spearmanr(maps[head], images[index])[0]
            else:
                others = np.stack([np.ones(PATCHES), *(ranks[o] for o in range(3) if o != index)], 1)
                left = [y - others @ np.linalg.lstsq(others, y, rcond=None)[0] for y in (mine, ranks[index])]
                want = np.corrcoef(*left)[0, 1]
            assert got[head, index] == pytest.approx(want, abs=2e-4), (head, index)


def follow(looks: np.ndarray, own: np.ndarray, others: np.ndarray) -> features.Followed:
    """looks [B, H, P], own [B, F, P], others [M, F, P]."""
    keys = torch.arange(len(looks)) * 7919 + 3
    same = torch.zeros(len(looks), len(others), dtype=torch.bool)
    made = (torch.from_numpy(part).float() for part in (looks, own, others))
    return features.followed(*made, same, shifts_of(keys, GRID), GRID)


def called(found: features.Followed) -> np.ndarray:
    """bool [H, F]: whether the interval of the mean leaves the band of chance, as the heads table has it."""
    value, null = found.value_BHF.numpy(), found.null_SBHF.numpy()
    count = len(value)
    mean, error = value.mean(0), value.std(0, ddof=1) / np.sqrt(count)
    band = 1.96 * np.sqrt(null.var((0, 1)) / count)
    lo, hi = mean - 1.96 * error, mean + 1.96 * error
    return (lo > band) | (hi < -band)


def test_chance_is_rarely_taken_for_following() -> None:
    """60 images, 40 heads, features and attention smooth and unrelated; and both with the same bias to a place."""
    rng = np.random.default_rng(1)
    for bias in (0.0, 1.0):
        hits, tried = 0, 0
        place = smooth(rng, 1, 2.0)[0]
        place *= bias / place.std() if bias else 0
        for _ in range(8):
            noise = smooth(rng, 1)[0].std()
            looks = (smooth(rng, 60 * 40) / noise + place).reshape(60, 40, PATCHES)
            own = (smooth(rng, 60 * 6) / noise + place).reshape(60, 6, PATCHES)
            others = (smooth(rng, 8 * 6) / noise + place).reshape(8, 6, PATCHES)
            found = called(follow(looks, own, others))[:, : features.BY_IMAGE]
            hits, tried = hits + found.sum(), tried + found.size
        assert hits / tried <= 0.06, (bias, hits / tried)


def test_planted_heads_are_told_apart() -> None:
    rng = np.random.default_rng(2)
    own, others = smooth(rng, 80 * 6).reshape(80, 6, PATCHES), smooth(rng, 8 * 6).reshape(8, 6, PATCHES)
    fixed = smooth(rng, 1, 2.0)[0]
    noise = smooth(rng, 80 * 3).reshape(80, 3, PATCHES)
    looks = np.stack([own[:, 0] + 0.7 * noise[:, 0], own[:, 4] + 0.7 * noise[:, 1], fixed + 0.3 * noise[:, 2]], 1)
    found = called(follow(looks, own, others))[:, : features.BY_IMAGE]
    assert found[0].tolist() == [True, False, False, False, False]  # edges
    assert found[1].tolist() == [False, False, False, False, True]  # colour
    assert not found[2].any()  # a place, whatever is there


def test_shifts_are_never_none_and_belong_to_the_sample() -> None:
    keys = torch.randint(-(2**62), 2**62, (500,))
    shifts = shifts_of(keys, GRID)
    assert shifts.shape == (500, features.SHIFTS, 2) and ((shifts[..., 0] + shifts[..., 1]) > 0).all()
    assert (shifts[..., 0] < GRID[0]).all() and (shifts[..., 1] < GRID[1]).all()
    assert torch.equal(shifts_of(keys[7:9], GRID), shifts[7:9])
    assert len(torch.unique(shifts.flatten(0, 1), dim=0)) == PATCHES - 1
