"""Corruptions against independent NumPy float64 definitions, with the same random fields injected."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from skimage import data

from tests import definitions
from vhs.seeds import hash64, sample_keys
from vhs.shifts import blur, digital, fields, filters, spatter, weather
from vhs.shifts.corruption import (
    MIN_SIDE,
    corrupt,
    luminance,
)  # fmt: skip
from vhs.shifts.kinds import ANY_SIZE, CORRUPTIONS
from vhs.shifts.names import CATEGORY, EXTRA, SEVERITIES
from vhs.shifts.textures import LOOKS, QUANTILES, procedural, reduce

SIZES = [(28, 28), (32, 32), (64, 64), (224, 224), (97, 61)]
PUBLISHED = (*CATEGORY, *EXTRA)
FIXED = {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
}
RANDOM = [name for name in PUBLISHED if name not in FIXED]
SAMPLE = "a"


def photo(height: int, width: int, name: str = "astronaut") -> np.ndarray:
    """uint8 [H, W, 3]: a real photograph at this size."""
    return np.asarray(Image.fromarray(getattr(data, name)()).resize((width, height), Image.Resampling.BILINEAR))


def keys_of(*names: str) -> torch.Tensor:
    return torch.from_numpy(sample_keys(names).view(np.int64))


def injected(name: str, severity: int, size: tuple[int, int]) -> dict:
    """The random fields of sample SAMPLE, as the definitions take them."""
    height, width = size
    strength = CORRUPTIONS[name].strength(severity, size)

    def words(count: int, stream: int = 0) -> torch.Tensor:
        return fields.words(keys_of(SAMPLE), count, hash64(0, name, severity), stream)

    def probability(count: int, stream: int = 0) -> np.ndarray:
        return (words(count, stream)[0].numpy().view(np.uint32) + 0.5) / 2**32

    def in_colour(stream: int = 0) -> np.ndarray:
        return probability(3 * height * width, stream).reshape(3, height, width).transpose(1, 2, 0)

    def plane(stream: int = 0) -> np.ndarray:
        return probability(height * width, stream).reshape(height, width)

    if name in ("gaussian_noise", "speckle_noise"):
        return {"normal": stats.norm.ppf(in_colour())}
    if name == "shot_noise":
        return {"uniform": in_colour()}
    if name == "impulse_noise":
        return {"hit": in_colour(), "salt": in_colour(1)}
    if name == "glass_blur":
        steps = [blur.glass_steps(words(height * width, number), strength[1]) for number in range(strength[2])]
        return {"offsets": np.stack([torch.stack(pair, -1)[0].view(height, width, 2).numpy() for pair in steps])}
    if name == "motion_blur":
        return {"angle": float(fields.uniform(words(1))) * 90 - 45}
    if name == "snow":
        return {"normal": stats.norm.ppf(plane()), "angle": float(fields.uniform(words(1, 1))) * 90 - 135}
    if name == "frost":
        textures = procedural().scale(strength[2])
        chosen, top, left = (int(value) for value in weather.frost_draws(words(3), textures, size))
        texture = np.pad(textures.images[chosen], ((0, height), (0, width), (0, 0)), mode="symmetric")
        return {"texture": texture, "top": top, "left": left}
    if name == "fog":
        side = 1 << (max(size) - 1).bit_length()
        draws = iter(np.split(fields.uniform(words(side * side - 1))[0].double().numpy() * 2 - 1, side * side - 1))
        return {"draw": lambda shape: np.concatenate([next(draws) for _ in range(int(np.prod(shape)))]).reshape(shape)}
    if name == "elastic_transform":
        corners = fields.uniform(words(6))[0].double().numpy().reshape(3, 2) * 2 - 1
        return {"corners": corners, "dx": plane(1) * 2 - 1, "dy": plane(2) * 2 - 1}
    if name == "spatter":
        return {"normal": stats.norm.ppf(plane())}
    return {}


def run(name: str, image: np.ndarray, severity: int, sample: str = SAMPLE, seed: int = 0) -> np.ndarray:
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    return corrupt(tensor, keys_of(sample), name, severity, seed)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_the_definition(name: str, size: tuple[int, int]) -> None:
    image = photo(*size, "chelsea" if size == (97, 61) else "astronaut")
    for severity in SEVERITIES if max(size) < 200 else (3, 5):
        strength = CORRUPTIONS[name].strength(severity, size)
        if name == "frost":
            strength = strength[:2]
        want = getattr(definitions, name)(image, strength, **injected(name, severity, size)).astype(int)
        gap = np.abs(run(name, image, severity).astype(int) - want)
        if name in RANDOM:
            assert (gap > 1).any(-1).mean() <= max(1e-4, 2.5 / want[..., 0].size) and gap.mean() < 0.1, severity
        else:
            assert gap.max() <= 1, severity


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_does_not_depend_on_batch_order_or_size(name: str) -> None:
    images = torch.from_numpy(np.stack([photo(31 + seed, 43)[seed:] for seed in range(9)])).permute(0, 3, 1, 2)
    keys = keys_of(*"abcdefghi")
    whole = corrupt(images, keys, name, 3, 0)
    order = torch.tensor([4, 1, 8, 0, 3, 2, 7, 5, 6])
    assert torch.equal(corrupt(images[order], keys[order], name, 3, 0), whole[order])
    for index in range(9):
        one = slice(index, index + 1)
        assert torch.equal(corrupt(images[one], keys[one], name, 3, 0), whole[one])


@pytest.mark.parametrize("name", [*RANDOM, "patch_shuffle"])
def test_randomness_belongs_to_sample_seed_and_severity(name: str) -> None:
    image = photo(64, 64)
    base = run(name, image, 5)
    assert not np.array_equal(base, run(name, image, 5, sample="b"))
    assert not np.array_equal(base, run(name, image, 5, seed=1))
    assert np.array_equal(base, run(name, image, 5))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_grey_is_replicated_and_brought_back_to_luminance(name: str) -> None:
    grey = torch.from_numpy(photo(28, 28)[..., :1].transpose(2, 0, 1).copy())[None]
    keys = keys_of("a")
    rgb = corrupt(grey.expand(-1, 3, -1, -1).contiguous(), keys, name, 4, 0)
    assert torch.equal(corrupt(grey, keys, name, 4, 0), luminance(rgb))


def test_images_below_28_px_are_refused() -> None:
    with pytest.raises(ValueError, match=f"{MIN_SIDE} px or more"):
        corrupt(torch.zeros(1, 3, 27, 40, dtype=torch.uint8), keys_of("a"), "contrast", 1, 0)


@pytest.mark.parametrize("size", SIZES)
def test_both_ways_of_pixelate_are_pillows(size: tuple[int, int]) -> None:
    levels = torch.from_numpy(photo(*size).transpose(2, 0, 1).copy())[None]
    for strength in (0.95, 0.85, 0.65, 0.6, 0.5, 0.4, 0.3, 0.25):
        small = (int(size[0] * strength), int(size[1] * strength))
        picture = Image.fromarray(levels[0].permute(1, 2, 0).numpy())
        reduced = np.asarray(picture.resize(small[::-1], Image.Resampling.BOX)).transpose(2, 0, 1)
        assert np.array_equal(digital.box_reduce(levels, small)[0].numpy(), reduced)
        narrow = digital._box_rows(levels.numpy().swapaxes(-1, -2), small[1])
        assert np.array_equal(digital._box_rows(narrow.swapaxes(-1, -2), small[0])[0], reduced)


def test_motion_blur_equals_imagemagick() -> None:
    known = np.load("tests/data/motion_blur.npz")
    angles = torch.from_numpy(known["angles"]).double()
    for name in ("cat", "edge"):
        levels = torch.from_numpy(known[name].transpose(2, 0, 1).copy()).float().expand(len(angles), -1, -1, -1)
        for number, (radius, sigma) in enumerate(known["parameters"].tolist()):
            ours = filters.motion_blur(levels, angles, radius, sigma).permute(0, 2, 3, 1).numpy()
            assert np.abs(ours - known[f"{name}_blurred"][number]).max() <= 1


def test_glass_blur_pointers_equal_the_loop() -> None:
    height, width, reach = 23, 31, 4
    rng = np.random.default_rng(0)
    dy, dx = rng.integers(-reach, reach, (2, height, width))
    image = np.arange(height * width).reshape(height, width)
    for y in range(height - reach, reach, -1):
        for x in range(width - reach, reach, -1):
            image[y, x] = image[y + dy[y, x], x + dx[y, x]]
    steps = [torch.from_numpy(d.reshape(1, -1).astype(np.int32)) for d in (dy, dx)]
    assert blur.copied_from(*steps, (height, width), reach)[0].tolist() == image.ravel().tolist()
    here, inside = blur._scan((height, width), reach, torch.device("cpu"))
    pointers = here + inside * (steps[0] * width + steps[1])
    assert blur._doubled(pointers, here)[0].tolist() == image.ravel().tolist()


def test_edges_grow_until_nothing_changes() -> None:
    """So that a device, which is not asked and takes every step, ends with the same."""
    generator = torch.Generator().manual_seed(0)
    for share in (0.3, 0.45, 0.6):
        allowed = torch.rand(4, 1, 61, 47, generator=generator) < share
        seeds = allowed & (torch.rand(allowed.shape, generator=generator) < 0.003)
        want = seeds
        for _ in range(61 + 47):
            want = spatter._widen(spatter._widen(want, -1), -2) & allowed
        got = spatter._connect(seeds, allowed)
        assert torch.equal(got, want) and got.sum() > seeds.sum()


def test_plasma_is_a_unit_fractal_that_roughens_with_less_decay() -> None:
    draws = fields.uniform(fields.words(keys_of("a", "b"), 64 * 64 - 1, 3)) * 2 - 1
    rough, smooth = weather.plasma(draws, 64, 1.5), weather.plasma(draws, 64, 3)
    for grid in (rough, smooth):
        assert grid.amin() == 0 and grid.amax() == 1
    assert rough.diff(dim=1).abs().mean() > 1.5 * smooth.diff(dim=1).abs().mean()


def test_affine_inverse_undoes_the_map_of_the_corners() -> None:
    moves = torch.tensor([[[1.0, 2.0], [-3.0, 0.5], [0.0, -1.0]]], dtype=torch.float64)
    inverse = digital.affine_inverse(moves, (64, 50))[0]
    corners = torch.tensor([[48.0, 41.0], [48.0, 9.0], [16.0, 9.0]], dtype=torch.float64)
    moved = torch.cat([corners + moves[0], torch.ones(3, 1, dtype=torch.float64)], dim=1)
    assert torch.allclose(moved @ inverse.T, corners)


def test_procedural_textures_match_the_photographs() -> None:
    for image, look in zip(procedural().images, LOOKS, strict=True):
        assert image.shape == (*look.size, 3)
        grey = image @ np.array([0.299, 0.587, 0.114])
        assert np.abs(np.quantile(grey, QUANTILES[1:-1]) - look.luminance[1:-1]).max() < 6
        middle = image[np.abs(grey - look.luminance[3]) < 3].mean(0)
        assert np.abs(middle - look.colours[1]).max() < 8


def test_textures_are_reduced_as_opencv_does() -> None:
    texture = photo(90, 70)
    assert np.abs(reduce(texture, 0.3).astype(int) - definitions.frost_scaled(texture, 0.3)).max() <= 1


def test_texture_and_shape_filters_do_what_they_say() -> None:
    image = photo(64, 64)
    grey = run("grayscale", image, 1)
    assert (grey[..., 0] == grey[..., 1]).all() and np.abs(
        grey[..., 0] - Image.fromarray(image).convert("L")
    ).max() <= 1
    low, high = run("low_pass", image, 3).astype(int), run("high_pass", image, 2).astype(int)
    rebuilt = low + high - image.mean((0, 1)).round().astype(int)
    inside = (high > 2) & (high < 253)  # not clipped
    assert (
        CORRUPTIONS["low_pass"].strengths[ANY_SIZE][2] != CORRUPTIONS["high_pass"].strengths[ANY_SIZE][1]
        and inside.mean() > 0.9
    )
    assert np.abs(np.diff(low, axis=1)).mean() < np.abs(np.diff(image.astype(int), axis=1)).mean() / 1.5
    assert np.abs(rebuilt - image)[inside].mean() < 40
    shuffled = run("patch_shuffle", image, 4)
    patches = lambda x: sorted(x.reshape(4, 16, 4, 16, 3).transpose(0, 2, 1, 3, 4).reshape(16, -1).tolist())  # noqa: E731
    assert patches(shuffled) == patches(image)


def test_luminance_is_pillows() -> None:
    image = photo(40, 30)
    want = np.asarray(Image.fromarray(image).convert("L"))
    assert np.array_equal(luminance(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])[0, 0].numpy(), want)


def test_the_nearest_table_goes_by_the_ratio_of_sides() -> None:
    sides = (28, 45, 46, 119, 120, 258, 259, 400)
    assert [CORRUPTIONS["fog"].side(s, 2 * s) for s in sides] == [32, 32, 64, 64, 224, 224, 299, 299]
    assert [CORRUPTIONS["sparkles"].side(2 * s, s) for s in (28, 84, 85, 400)] == [32, 32, 224, 224]
    assert [CORRUPTIONS["lines"].side(s, s) for s in (28, 224)] == [32, 32]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_cuda_agrees_with_the_cpu(name: str) -> None:
    images = torch.from_numpy(np.stack([photo(224, 224), photo(224, 224, "chelsea")])).permute(0, 3, 1, 2).contiguous()
    keys = keys_of("a", "b")
    there = corrupt(images.cuda(), keys.cuda(), name, 3, 0).cpu().int()
    gap = (there - corrupt(images, keys, name, 3, 0).int()).abs()
    assert (gap > 1).float().mean() <= 1e-4
