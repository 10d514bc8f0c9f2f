"""Corruptions against independent NumPy float64 definitions and against Pillow itself."""

import io

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import stats

from vhs.seeds import hash64, sample_keys
from vhs.shifts import fields
from vhs.shifts.corruption import CORRUPTIONS, SEVERITIES, corrupt, luminance
from vhs.shifts.parameters import TABLES, nearest_table

SIZES = [(28, 28), (32, 32), (64, 64), (224, 224), (97, 61)]
RANDOM = ("gaussian_noise", "shot_noise", "impulse_noise")


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 [H, W, 3]: smooth gradients with edges and texture, all grey levels present."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    base = np.stack([x, y, (np.sin(9 * x) * np.cos(7 * y) + 1) / 2], axis=-1) * 255
    base[height // 3 : height // 2, width // 4 : width // 2] = (250, 10, 90)
    base[-3:, :] = 0
    return np.clip(base + rng.normal(0, 12, base.shape), 0, 255).astype(np.uint8)


def keys_of(*names: str) -> torch.Tensor:
    return torch.from_numpy(sample_keys(names).view(np.int64))


def reference(name: str, image: np.ndarray, strength: float, words: dict[int, np.ndarray]) -> np.ndarray:
    """The published definition in float64; `words` are the 32-bit draws by stream, injected."""
    x = image / 255.0

    def uniform(stream: int) -> np.ndarray:
        return (words[stream].reshape(3, *image.shape[:2]).transpose(1, 2, 0) + 0.5) / 2**32

    if name == "gaussian_noise":
        x = x + stats.norm.ppf(uniform(0)) * strength
    elif name == "shot_noise":
        x = stats.poisson.ppf(uniform(0), x * strength) / strength
    elif name == "impulse_noise":
        hit, salt = uniform(0) <= strength, uniform(1) <= 0.5
        x = np.where(hit, salt.astype(float), x)
    elif name == "brightness":
        hsv = rgb_to_hsv(x)
        hsv[..., 2] = np.clip(hsv[..., 2] + strength, 0, 1)
        x = hsv_to_rgb(hsv)
    elif name == "contrast":
        mean = x.mean((0, 1), keepdims=True)
        x = (x - mean) * strength + mean
    elif name == "pixelate":
        height, width = image.shape[:2]
        small = Image.fromarray(image).resize((int(width * strength), int(height * strength)), Image.Resampling.BOX)
        return np.asarray(small.resize((width, height), Image.Resampling.BOX))
    elif name == "jpeg_compression":
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(strength))
        return np.asarray(Image.open(buffer))
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def run(name: str, image: np.ndarray, severity: int, sample: str = "a", seed: int = 0) -> np.ndarray:
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    return corrupt(tensor, keys_of(sample), name, severity, seed)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_equals_the_definition(name: str, size: tuple[int, int]) -> None:
    image = photo(*size)
    for severity in SEVERITIES:
        strength = TABLES[nearest_table(*size)][name][severity - 1]
        key = hash64(0, name, severity)
        words = {stream: fields.words(keys_of("a"), image.size, key, stream)[0].numpy() for stream in (0, 1)}
        want = reference(name, image, strength, words).astype(int)
        gap = np.abs(run(name, image, severity).astype(int) - want)
        if name in RANDOM:
            assert (gap > 1).mean() <= 1e-4 and gap.mean() < 0.1
        else:
            assert gap.max() <= 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_does_not_depend_on_batch_order_or_size(name: str) -> None:
    images = torch.from_numpy(np.stack([photo(31, 43, seed) for seed in range(9)])).permute(0, 3, 1, 2)
    keys = keys_of(*"abcdefghi")
    whole = corrupt(images, keys, name, 3, 0)
    order = torch.tensor([4, 1, 8, 0, 3, 2, 7, 5, 6])
    assert torch.equal(corrupt(images[order], keys[order], name, 3, 0), whole[order])
    for index in range(9):
        one = slice(index, index + 1)
        assert torch.equal(corrupt(images[one], keys[one], name, 3, 0), whole[one])


@pytest.mark.parametrize("name", RANDOM)
def test_noise_depends_on_sample_seed_and_severity(name: str) -> None:
    image = photo(28, 28)
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


def test_luminance_is_pillows() -> None:
    image = photo(40, 30)
    want = np.asarray(Image.fromarray(image).convert("L"))
    assert np.array_equal(luminance(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])[0, 0].numpy(), want)


def test_the_nearest_table_goes_by_the_ratio_of_sides() -> None:
    assert [nearest_table(s, 2 * s) for s in (28, 45, 46, 119, 120, 258, 259, 400)] == [
        "cifar32", "cifar32", "tiny64", "tiny64", "imagenet224", "imagenet224", "inception299", "inception299",
    ]  # fmt: skip
