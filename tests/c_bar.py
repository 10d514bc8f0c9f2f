"""The corruptions of ImageNet-C-bar and CIFAR-10-C-bar as their authors defined them, pixel by pixel, draws as arguments.

Source: E. Mintun, A. Kirillov and S. Xie, "On Interaction Between Augmentations and Corruptions in Natural Corruption
Robustness", NeurIPS 2021; github.com/facebookresearch/augmentation-corruption (MIT), imagenet_c_bar/corrupt.py. Sizes
that it takes from one side are read axis by axis where they are places, and from the shorter side where they are
lengths. Images are uint8 [H, W, 3]; `c` is the severity that the source is given, 0 to 10; points are (row, column).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, rotate, zoom
from skimage.draw import line_aa

Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]


def level(c: float, most: float) -> float:
    return float(c) * most / 10.0


def levels(x: Array) -> Bytes:
    return np.clip(x, 0, 255).astype(np.uint8)


def everywhere(size: tuple[int, int], value: Callable[[int, int], Any]) -> Array:
    return np.array([[value(y, x) for x in range(size[1])] for y in range(size[0])])


def at(image: Array, y: float, x: float) -> Array:
    """Bilinear; black outside."""
    total = np.zeros(3)
    top, left = int(np.floor(y)), int(np.floor(x))
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def single_frequency_greyscale(image: Bytes, c: float, freq: Array, phase: float) -> Bytes:
    noise = everywhere(image.shape[:2], lambda y, x: np.sin(x * freq[0] + y * freq[1] + phase))
    return levels(image + level(c, 196) * noise[..., None])


def cocentric_sine_waves(image: Bytes, c: float, centre: Array, freq: float, amplitude: float, ring: float) -> Bytes:
    def wave(y: int, x: int) -> float:
        dy, dx = y - centre[0], x - centre[1]
        distance = np.sqrt(dx**2 + dy**2) + np.sin(np.arctan2(dx, dy) * freq) * amplitude
        return (distance % ring) / ring - 0.5

    return levels(image + level(c, 128) * everywhere(image.shape[:2], wave)[..., None])


def plasma_noise(image: Bytes, c: float, time: float, steps: int, sharpness: float, scale: float) -> Bytes:
    def colours(y: int, x: int) -> list[float]:
        px, py, weights = x / scale, y / scale, np.ones(3)
        for _ in range(steps):
            a = np.cos(py * weights[0] + time / weights[1]) / weights[2]
            b = np.sin(px * weights[0] + time / weights[1]) / weights[2]
            px, py = px + a - 0.3 * b, py + b + 0.3 * a
            weights = weights * np.array([1.93, 1.15, 2.25 - sharpness])
        return [np.sin(px - time), np.sin((px + py + np.sin(time)) * 0.5), np.sin(py + time)]

    intensity = level(c, 64)
    return levels((1 - intensity / 255) * image + intensity * everywhere(image.shape[:2], colours))


def coloured(power: Callable[[Array], Array], phases: Array) -> Array:
    """phases: [H, W]; only the left half (and half of a middle column) is used, the rest is its mirror image."""
    height, width = phases.shape
    side = min(height, width)
    radius = everywhere(
        (height, width), lambda y, x: side * np.hypot((y - height / 2) / height, (x - width / 2) / width)
    )
    left = phases[:, : width // 2]
    parts = [left, left[::-1, ::-1]]
    if width % 2:
        upper = phases[: height // 2, width // 2 : width // 2 + 1]
        parts.insert(1, np.concatenate([upper, np.zeros((height % 2, 1)), upper[::-1]]))
    spectrum = power(radius) * np.exp(1j * np.concatenate(parts, axis=1))
    noise = np.real(np.fft.ifft2(np.roll(spectrum, (height // 2, width // 2), axis=(0, 1))))
    return noise / np.std(noise)


def blue_noise_sample(image: Bytes, c: float, phases: Array) -> Bytes:
    noise = coloured(lambda radius: radius, phases[0])
    return levels(image * (noise > level(c, 3.0) - 2.5)[..., None])


def brownish_noise(image: Bytes, c: float, phases: Array) -> Bytes:
    noise = np.stack([coloured(lambda radius: 1 / (radius**2 + 1), plane) for plane in phases], axis=2)
    return levels(image + level(c, 64) * noise)


def star(point: Array, centre: Array, lengths: Array, exponent: float) -> float:
    """How much of a star is at a point."""
    dy, dx = point - centre
    turn = (np.arctan2(dx, dy) + np.pi) / (2 * np.pi) * len(lengths)
    ray, part = int(turn), turn - int(turn)
    one, other = lengths[ray % len(lengths)], lengths[(ray + 1) % len(lengths)]
    light = ((one + part * (other - one)) ** 2 / (dy**2 + dx**2 + 1e-4)) ** exponent
    return float(np.clip((1 - (part - 0.5) ** 2) * light, 0, 1))


def sparkles(image: Bytes, c: float, centres: Array, normals: list[Array]) -> Bytes:
    radius, out = level(c, 0.1) * min(image.shape[:2]), image.astype(np.float64)
    for centre, normal in zip(centres, normals, strict=True):
        lengths = np.maximum(1, radius + 0.25 * radius * normal)
        share = everywhere(image.shape[:2], lambda y, x: star(np.array([y, x]), centre, lengths, 1.0))[..., None]  # noqa: B023
        out = out + share * (255 - out)
    return levels(out)


def inverse_sparkles(image: Bytes, c: float, centre: Array, normal: Array) -> Bytes:
    lengths = 0.25 * min(image.shape[:2]) * (1 + 0.25 * normal)
    exponent = level(c, 65) / 50
    share = everywhere(image.shape[:2], lambda y, x: star(np.array([y, x]), centre, lengths, exponent))[..., None]
    return levels(255 + share * (image - 255.0))


def perlin_noise(image: Bytes, c: float, order: NDArray[np.int64], gradients: Array) -> Bytes:
    """order: a permutation of 0 to 255; gradients: [256, 2], along rows and columns."""
    period = 32 * min(image.shape[:2]) / 224

    def noise(y: float, x: float) -> float:
        corners = np.empty((2, 2))
        top, left = int(np.floor(y)), int(np.floor(x))
        for i in (0, 1):
            for j in (0, 1):
                number = order[(order[(top + i) % 256] + left + j) % 256]
                corners[i, j] = gradients[number] @ np.array([y - top - i, x - left - j])
        sy, sx = (t**2 * (3 - 2 * t) for t in (y - top, x - left))
        first, second = corners[0] + sy * (corners[1] - corners[0])
        return float(1.5 * (first + sx * (second - first)))

    def cloud(y: int, x: int) -> float:
        turbulence = sum(abs(noise(f * y / period, f * x / period)) / f for f in (1, 2, 4, 8, 16))
        return float(np.clip(0.5 * turbulence + 0.5, 0, 1))

    alpha = level(c, 0.5)
    return levels((1 - alpha) * image + 255 * alpha * everywhere(image.shape[:2], cloud)[..., None])


def checkerboard_cutout(image: Bytes, c: float, angle: float, scale: float, draws: Array) -> Bytes:
    """draws: uniform numbers that a pair of cell numbers, negative ones from the end, picks."""

    def value(y: int, x: int) -> Array:
        ny = (np.cos(angle) * y + np.sin(angle) * x) / scale
        nx = (-np.sin(angle) * y + np.cos(angle) * x) / scale
        shown = int(ny % 2) != int(nx % 2) or not draws[int(ny), int(nx)] < level(c, 1.0)
        return image[y, x] if shown else np.array([128, 128, 128])

    return levels(everywhere(image.shape[:2], value))


def caustic(y: float, x: float, time: float, size: float) -> float:
    p = (np.array([y, x]) / size % 1) * 6.28318530718 - 250
    i, light = p.copy(), 1.0
    for n in range(5):
        t = time * (1 - 3.5 / (n + 1))
        i = p + np.array([np.cos(t - i[0]) + np.sin(t + i[1]), np.sin(t - i[1]) + np.cos(t + i[0])])
        light += 1 / np.hypot(p[0] / (np.sin(i[0] + t) / 0.005), p[1] / (np.cos(i[1] + t) / 0.005))
    return float(np.clip(abs(1.17 - (light / 5) ** 1.4) ** 8, 0, 1))


def refract(normal: Array, eta: float) -> Array:
    """A ray from above, in the plane of it and the normal."""
    above = np.array([0.0, 0.0, 1.0])
    if abs(above @ normal) >= 1 - 1e-3:
        return above
    angle = np.arcsin(np.sin(np.arccos(above @ normal)) / eta)
    third = np.cross(above, normal)
    third /= np.linalg.norm(third)
    axes = np.stack([normal, np.cross(normal, third), third])
    return np.linalg.inv(axes) @ np.array([np.cos(angle), np.sin(angle), 0.0])


def caustic_refraction(image: Bytes, c: float, time: float, size: float) -> Bytes:
    height, width = image.shape[:2]
    surface = gaussian_filter(everywhere((height, width), lambda y, x: caustic(y, x, time, size)), sigma=1)
    bordered = np.pad(surface, 1)
    unit = (image.astype(np.float32) / 255).astype(np.float64)

    def value(y: int, x: int) -> Array:
        down = bordered[y + 2, x + 1] - bordered[y, x + 1]
        right = bordered[y + 1, x + 2] - bordered[y + 1, x]
        normal = np.array([down, right, 1.0])
        ray = np.round(refract(normal / np.linalg.norm(normal), 4.0) * level(c, 0.5 * min(height, width)), 3)
        return np.clip(at(unit, y + ray[0], x + ray[1]) + (down - right) * level(c, 2.0), 0, 1)

    return levels(everywhere((height, width), value) * 255)


def ripple(image: Bytes, c: float, wavelengths: Array, phases: Array) -> Bytes:
    amplitude = level(c, 0.025) * min(image.shape[:2])

    def value(y: int, x: int) -> Array:
        point = np.array([y, x])
        return at(image, *(point + amplitude * np.sin(2 * np.pi * point / wavelengths + phases)))

    return levels(everywhere(image.shape[:2], value))


def pinch_and_twirl(image: Bytes, c: float, signs: NDArray[np.int64]) -> Bytes:
    """signs: of the cells' angles, [rows, columns] of cells. Cells are worked on one after another, in place."""
    cells = len(signs)
    height, width = (side // cells for side in image.shape[:2])
    radius, amount = min(height, width) / 2, level(c, 0.4) + 0.1
    out = image.astype(np.float64)

    def moved(point: Array, centre: Array, angle: float) -> Array:
        dy, dx = point - centre
        far = np.hypot(dy, dx)
        if far > radius or np.round(far, 3) == 0:
            return point
        drawn = np.sin(np.pi / 2 * far / radius) ** -amount
        a = angle * (1 - far / radius) ** 2
        turned = np.array([dy * np.cos(a) - dx * np.sin(a), dy * np.sin(a) + dx * np.cos(a)])
        return centre + turned * drawn

    for column in range(cells):
        for row in range(cells):
            top, left = row * height, column * width
            centre, angle = np.array([top + radius, left + radius]), signs[row, column] * level(c, np.pi / 2)
            out[top : top + height, left : left + width] = [
                [at(out, *moved(np.array([y, x]), centre, angle)) for x in range(left, left + width)]
                for y in range(top, top + height)
            ]
    return levels(out)


def circular_motion_blur(image: Bytes, c: float) -> Bytes:
    places = np.linspace(-1, 1, 21)
    weights = np.exp(-2 * places**2)
    turned = [rotate(image / 255, place * level(c, 15), reshape=False) for place in places]
    return levels(255 * sum(w * x for w, x in zip(weights, turned, strict=True)) / weights.sum())


def lines(image: Bytes, c: float, draws: Array, angle: float, variation: float) -> Bytes:
    """draws: three uniform numbers a line."""
    height, width = image.shape[:2]
    length, out = min(height, width), image.copy()
    for down, right, turn in draws[: int(level(c, 1.0) * length)]:
        y, x = height * down, width * right
        a = angle + 2 * np.pi * variation * (turn - 0.5)
        s, k = np.sin(a) * length, np.cos(a) * length
        rows, columns, values = line_aa(int(y - k), int(x - s), int(y + k), int(x + s))
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        rows, columns, values = rows[inside], columns[inside], values[inside, None]
        out[rows, columns] = (1 - values) * out[rows, columns].astype(np.float32) + values * 128
    return out


def transverse_chromatic_abberation(image: Bytes, c: float, order: list[int]) -> Bytes:
    out = image.copy()
    for channel, number in enumerate(order):
        factor = 1 + number * level(c, 0.5) / 2
        enlarged = zoom(image[..., channel], factor, prefilter=False)
        top, left = ((big - side) // 2 for big, side in zip(enlarged.shape, image.shape, strict=False))
        out[..., channel] = enlarged[top : top + image.shape[0], left : left + image.shape[1]]
    return out
