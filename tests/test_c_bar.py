"""The corruptions of C-bar against pixel-by-pixel float64 definitions with the same draws, and what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import ndtr
from skimage.draw import line_aa

from tests import c_bar
from tests.c_bar_draws import SAMPLE, injected
from tests.photographs import photograph
from vhs.measures.mce import AVERAGED
from vhs.runs import conditions
from vhs.seeds import sample_keys
from vhs.shifts import covers, lattice, planes, sparkles, spectra, splines, warps
from vhs.shifts.corruption import MODULES, corrupt
from vhs.shifts.kinds import CIFAR_C_BAR, CORRUPTIONS, FAMILY, IMAGENET_C_BAR
from vhs.shifts.names import FAMILIES, SEVERITIES

NAMES = [name for name, kind in CORRUPTIONS.items() if kind.family in (IMAGENET_C_BAR, CIFAR_C_BAR)]
SIZES = [(32, 32), (29, 41)]


def keys_of(*names: str) -> torch.Tensor:
    return torch.from_numpy(sample_keys(names).view(np.int64))


def run(name: str, image: NDArray[np.uint8], severity: int, sample: str = SAMPLE) -> NDArray[np.uint8]:
    tensor = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    return corrupt(tensor, keys_of(sample), name, severity, 0)[0].permute(1, 2, 0).numpy()


def gap(name: str, severity: int, size: tuple[int, int]) -> NDArray[np.int64]:
    image, strength = photograph(*size), CORRUPTIONS[name].strength(severity, size)
    want = getattr(c_bar, name)(image, strength, **injected(name, severity, size))
    return np.abs(run(name, image, severity).astype(int) - want.astype(int))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_equals_the_definition(name: str, size: tuple[int, int]) -> None:
    for severity in SEVERITIES:
        off = gap(name, severity, size)
        assert off.max() <= 1 and (off > 0).mean() <= 0.02, (severity, off.max(), (off > 0).mean())


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (place % 3 > 0)) for place, name in enumerate(NAMES)]
)
def test_equals_the_definition_at_the_size_of_imagenet(name: str) -> None:
    off = gap(name, 4, (224, 224))
    assert off.max() <= 1 and (off > 0).mean() <= 0.02, (off.max(), (off > 0).mean())


def made(name: str, image: NDArray[np.uint8], strength: float, key: int = 5) -> NDArray[np.float64]:
    """The corruption's function itself, with any strength and the same draws for all of them."""
    kind = CORRUPTIONS[name]
    levels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    drawn = (keys_of(SAMPLE), key) if kind.random else ()
    return getattr(MODULES[kind.module], name)(levels, *drawn, strength)[0].permute(1, 2, 0).double().numpy()


@pytest.mark.parametrize("name", [name for name in NAMES if CORRUPTIONS[name].random])
def test_randomness_belongs_to_sample_seed_and_severity(name: str) -> None:
    image = photograph(32, 32)
    levels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    base = corrupt(levels, keys_of("a"), name, 5, 0)
    assert torch.equal(base, corrupt(levels, keys_of("a"), name, 5, 0))
    others = [corrupt(levels, keys_of(f"{sample}"), name, 5, seed) for sample, seed in (("b", 0), ("c", 0), ("a", 1))]
    assert any(not torch.equal(base, other) for other in others)
    if name != "transverse_chromatic_abberation":  # six orders of channels
        assert all(not torch.equal(base, other) for other in others)


@pytest.mark.parametrize(
    "name",
    [
        "single_frequency_greyscale", "cocentric_sine_waves", "plasma_noise", "brownish_noise", "perlin_noise",
        "checkerboard_cutout", "ripple", "lines",
    ],
)  # fmt: skip
def test_severity_0_leaves_the_image(name: str) -> None:
    image = photograph(61, 47)
    assert np.array_equal(made(name, image, 0), image)


def test_what_severity_0_does_else() -> None:
    """Water without depth cuts levels that float32 holds too low; a spline through its pixels gives them back; enlarged
    by 1 they are smoothed by (1, 4, 1) / 6 along both axes; noise below -2.5 deviations hides a hundredth."""
    image = photograph(61, 47)
    for name in ("caustic_refraction", "circular_motion_blur"):
        assert np.abs(made(name, image, 0) - image).max() <= 1
    smooth = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    smooth = (smooth[:-2] + 4 * smooth[1:-1] + smooth[2:]) / 6
    smooth = (smooth[:, :-2] + 4 * smooth[:, 1:-1] + smooth[:, 2:]) / 6
    assert np.abs(made("transverse_chromatic_abberation", image, 0) - smooth).max() <= 0.5 + 1e-3
    black = (made("blue_noise_sample", photograph(224, 224) | 1, 0) == 0).mean()
    assert abs(black - ndtr(-2.5)) < 0.002


@pytest.mark.parametrize("name", NAMES)
def test_more_severity_changes_more(name: str) -> None:
    """With the same draws; the mean change over images of the strengths that are published."""
    strengths = next(iter(CORRUPTIONS[name].strengths.values()))
    image = photograph(64, 64)
    keys = range(4) if CORRUPTIONS[name].random else (0,)
    change = [
        np.mean([np.abs(made(name, image, strength, key) - image).mean() for key in keys]) for strength in strengths
    ]
    assert (np.diff(change) > 0).all() and change[0] > 0.5, change


@pytest.mark.parametrize(("name", "slope"), [("blue", 2), ("brown", -4)])
@pytest.mark.parametrize("size", [(64, 64), (63, 63)])
def test_the_spectrum_of_coloured_noise(name: str, slope: float, size: tuple[int, int]) -> None:
    radius = spectra.radius(size, torch.device("cpu"))
    amplitude = radius if name == "blue" else 1 / (radius.square() + 1)
    noise = spectra.coloured(keys_of(*map(str, range(40))), 3, 2, amplitude)
    assert torch.allclose(noise.std((-2, -1), correction=0), torch.ones(40, 2).double())
    assert size[0] % 2 or name == "brown" or noise.mean((-2, -1)).abs().max() < 1e-12
    power = torch.fft.fft2(noise).abs().square().mean((0, 1))
    ring = (radius > 6) & (radius < 28)
    fitted = np.polyfit(radius[ring].log().numpy(), power[ring].log().numpy(), 1)[0]
    assert abs(fitted - slope) < 0.15


def test_blue_noise_hides_the_share_of_its_threshold() -> None:
    image = photograph(224, 224) | 1
    for severity, strength in zip(SEVERITIES, CORRUPTIONS["blue_noise_sample"].strengths[224], strict=True):
        black = (run("blue_noise_sample", image, severity) == 0).all(-1).mean()
        assert abs(black - ndtr(0.3 * strength - 2.5)) < 0.01, severity


def test_waves_have_the_brightness_and_reach_of_their_severity() -> None:
    image = np.full((224, 224, 3), 128, np.uint8)
    for name, reach in (("single_frequency_greyscale", 19.6), ("cocentric_sine_waves", 6.4)):
        means = []
        for key in range(20):
            out = made(name, image, 5, key)
            assert np.abs(out - 128).max() <= 5 * reach + 1 and (out == out[..., :1]).all()
            means.append(out.mean())
        assert abs(np.mean(means) - 127.5) < 6
    black = made("plasma_noise", image * 0, 10)
    assert black.max() == 63 and np.ptp(black, axis=-1).max() > 20  # intensity 64, in colour
    white = made("plasma_noise", image * 0 + 255, 10)
    assert white.min() >= 255 - 2 * 64 and white.max() <= 255


@pytest.mark.parametrize(("share", "side"), [(0.0, 20), (0.5, 35)])
def test_checkers_have_the_size_that_is_drawn(share: float, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With angle 0 and all dark squares hidden: squares of a tenth to a quarter of the image, in turn."""
    draws = [torch.tensor([[[value]]]).double() for value in (0.0, share)]
    monkeypatch.setattr(planes, "parameters", lambda *_: draws)
    image = np.zeros((200, 200, 3), np.uint8)
    got = made("checkerboard_cutout", image, 10)[..., 0] == 128
    number = np.arange(200) // side
    assert np.array_equal(got, number[:, None] % 2 == number % 2)


def test_checkers_hide_half_of_the_share_of_their_severity() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    for strength in (2.0, 6.0, 10.0):
        hidden = np.mean([(made("checkerboard_cutout", image, strength, key) == 128).mean() for key in range(200)])
        assert abs(hidden - strength / 20) < 0.02


def test_sparkles_brighten_and_leave_what_is_white() -> None:
    for name in ("sparkles", "inverse_sparkles"):
        image = photograph(64, 64)
        assert (made(name, image, 3) >= image).all()
        assert (made(name, np.full((32, 32, 3), 255, np.uint8), 3) == 255).all()
    dark = made("inverse_sparkles", np.zeros((128, 128, 3), np.uint8), 10)
    assert dark.max() > 250 and dark.min() == 0
    rays, lengths = sparkles.star_rays(keys_of(*map(str, range(500))), 1, 5, 10.0)
    assert (int(rays.min()), int(rays.max())) == (50, 199)
    assert abs(lengths.mean() - 10) < 0.02 and abs(lengths.std() - 2.5) < 0.02


def test_perlin_noise_is_nothing_on_its_lattice_and_bounded() -> None:
    order, gradients = lattice.lattice(keys_of("a", "b"), 1)
    assert torch.equal(order.sort(dim=1).values, torch.arange(256).expand(2, -1))
    assert torch.allclose(gradients.square().sum(1), torch.ones(2, 256).double())
    weights = lattice.weights(64, 1 / 8, torch.device("cpu"))
    assert torch.allclose(weights[0].sum(1), torch.ones(64).double())
    noise = lattice.noise(order, gradients, weights, weights)
    assert noise[:, ::8, ::8].abs().max() < 1e-12 and 0.5 < noise.abs().max() < 1.5


def test_lines_are_those_of_scikit_image() -> None:
    """Pixels and values, also of lines that begin or end in the image, of one pixel, and along the axes."""
    rng, size = np.random.default_rng(0), (31, 31)
    ends = rng.integers(-31, 62, (300, 2, 2))
    ends[0, 1] = ends[0, 0] = 7
    ends[1, :, 0], ends[2, :, 1] = 12, 30
    far = np.abs(ends[:, 1] - ends[:, 0]).max(1) <= 2 * 31 + 1
    ends = torch.from_numpy(ends[far])
    places, covers_ = covers.line_pixels(ends[None, :, 0], ends[None, :, 1], size)
    for line, place, cover in zip(ends.tolist(), places[0], covers_[0], strict=True):
        rows, columns, values = line_aa(*line[0], *line[1])
        want = {
            (row, column): value
            for row, column, value in zip(rows.tolist(), columns.tolist(), values.tolist(), strict=True)
            if 0 <= row < 31 and 0 <= column < 31
        }
        drawn = place < 31 * 31
        got = {divmod(int(p), 31): float(c) for p, c in zip(place[drawn], cover[drawn], strict=True)}
        assert len(got) == int(drawn.sum()), "a pixel comes once"
        assert {p for p, c in want.items() if c > 1e-9} == {p for p, c in got.items() if c > 1e-9}, line
        assert all(abs(got[p] - want[p]) < 1e-6 for p in got), line


def test_disks_end_where_they_should() -> None:
    """Between the disks nothing moves, and nothing leaves its disk."""
    image = photograph(33, 33)
    out = run("pinch_and_twirl", image, 5)
    _, away, angle = warps.disks((33, 33), 3, 10.0, torch.device("cpu"))
    still = ((away[:2] == away[2:]).all(0) & (angle == 0)).numpy()
    assert 0.2 < still.mean() < 0.35 and np.array_equal(out[still], image[still])
    assert angle.max() < math.pi / 2 and (away[:2].square().sum(0).sqrt() <= 5.5 * math.sqrt(2)).all()


def test_splines_go_through_their_pixels_and_lines_stay_lines() -> None:
    through = splines.to_splines(9, torch.device("cpu"))
    values = torch.linspace(0, 1, 9).double() ** 2
    known = torch.cat([(through @ values)[1:2], through @ values, (through @ values)[-2:-1]])
    assert torch.allclose((known[:-2] + 4 * known[1:-1] + known[2:]) / 6, values)
    enlarged = splines.enlargements(32, 10.0, torch.device("cpu")).double()
    assert torch.allclose(enlarged.sum(-1), torch.ones(3, 32).double())
    steps = (enlarged @ torch.arange(32).double()).diff(dim=1)[:, 2:-2]
    assert torch.allclose(steps, torch.tensor([[1.0], [31 / 39], [31 / 47]]).expand(-1, 27).double(), atol=1e-5)


def test_families_are_taken_whole_and_stay_out_of_mce() -> None:
    for family in (IMAGENET_C_BAR, CIFAR_C_BAR):
        found = conditions.parse([family])[1:]
        assert len(found) == 50 and {item.shift for item in found} == {family}
        assert {item.category for item in found} == {None} and {item.corruption for item in found} == set(
            FAMILIES[family]
        )
    both = set(FAMILIES[IMAGENET_C_BAR]) & set(FAMILIES[CIFAR_C_BAR])
    assert len(both) == 5 and len(NAMES) == 15
    assert conditions.parse(["sparkles:3"])[1].name == "imagenet-c-bar/sparkles:3"
    assert conditions.parse(["lines:1"])[1].name == "cifar-c-bar/lines:1"
    assert not set(NAMES) & set(AVERAGED) and len(AVERAGED) == 15
    assert {item.shift for item in conditions.parse(["imagenet-c"])[1:]} == {FAMILY}


def test_strengths_follow_the_size_of_the_images() -> None:
    sparks = CORRUPTIONS["sparkles"]
    assert [sparks.strength(2, (side, side)) for side in (32, 64, 96, 384)] == [3.5, 3.5, 2, 2]
    assert (
        CORRUPTIONS["ripple"].strength(1, (224, 224)) == 5.5
        and CORRUPTIONS["plasma_noise"].strength(1, (32, 32)) == 4.75
    )


def test_contact_sheets_draw_what_is_asked(vhs) -> None:
    Image.fromarray(photograph(40, 50)).save("photo.png")
    assert vhs("plot", "photo.png", "--shift", "cifar-c-bar", "-o", "bar.png")[0] == 0
    assert vhs("plot", "photo.png", "--shift", "fog", "--shift", "sparkles:2", "-o", "two.png")[0] == 0
    assert Image.open("two.png").size[0] < Image.open("bar.png").size[0] < 2000
    for shift in ("clean_own", "foggy"):
        code, out, err = vhs("plot", "photo.png", "--shift", shift, "-o", "x.png")
        assert (code, out) == (2, "") and f"--shift {shift}: " in err
    code, out, err = vhs("plot", "table.csv", "--shift", "fog")
    assert (code, out) == (2, "") and "--shift fog: is of an image" in err
