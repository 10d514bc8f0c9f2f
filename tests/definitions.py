"""The 19 ImageNet-C corruptions as their authors defined them, in plain NumPy, with every random draw an argument.

Source: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019; github.com/hendrycks/robustness, ImageNet-C/create_c/make_imagenet_c.py, make_cifar_c.py and
make_tinyimagenet_c.py. What those scripts leave to OpenCV, scikit-image and ImageMagick 6 is written out here. Sizes
that the scripts fix (224, 64, 32, squares) are read from the image, axis by axis.

Images are uint8 [H, W, 3]; `c` is the strength of one severity; results are truncated to uint8 as the scripts' files
are. Arithmetic is float64, where the scripts mix float32 and float64.
"""

from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import correlate, gaussian_filter, label, map_coordinates, zoom
from scipy.special import pdtr

Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]

WATER = np.array([175, 238, 238]) / 255
MUD = np.array([63, 42, 20]) / 255
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
TAN_22 = int((2**0.5 - 1) * 2**15 + 0.5)  # OpenCV's tangent of 22.5 degrees, in 1/32768
CHAMFER = {(0, 1): 65536, (1, 1): 91750, (1, 2): 143976}  # OpenCV's 1, 1.4, 2.1969 in 1/65536


def unit(image: Bytes) -> Array:
    """Levels as numbers in [0, 1]."""
    return image / 255.0


def levels(x: Array) -> Bytes:
    """Numbers as levels: clipped to [0, 1], truncated."""
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


# --- noise


def gaussian_noise(image: Bytes, c: float, normal: Array) -> Bytes:
    """Add normal noise of scale c."""
    return levels(unit(image) + c * normal)


def shot_noise(image: Bytes, c: float, uniform: Array) -> Bytes:
    """Draw Poisson counts of mean x c by the inverse distribution function, and divide by c."""
    counts = np.empty(image.shape)
    ladder = np.arange(int(c + 12 * np.sqrt(c) + 40))
    for value in range(256):
        here = image == value
        counts[here] = np.searchsorted(pdtr(ladder, value / 255.0 * c), uniform[here])
    return levels(counts / c)


def impulse_noise(image: Bytes, c: float, hit: Array, salt: Array) -> Bytes:
    """Set a share c of the values to white (salt) or black, half of them each, every channel on its own."""
    return levels(np.where(hit <= c, np.where(salt <= 0.5, 1.0, 0.0), unit(image)))


def speckle_noise(image: Bytes, c: float, normal: Array) -> Bytes:
    """Add normal noise of scale c in proportion to the value."""
    x = unit(image)
    return levels(x + x * (c * normal))


# --- blur


def smooth(x: Array, sigma: float, mode: str = "nearest", truncate: float = 4) -> Array:
    """scikit-image's `gaussian` over the two spatial axes."""
    return gaussian_filter(x, (sigma, sigma) + (0,) * (x.ndim - 2), mode=mode, truncate=truncate)


def gaussian_blur(image: Bytes, c: float) -> Bytes:
    """Blur with standard deviation c."""
    return levels(smooth(unit(image), c))


def glass_blur(image: Bytes, c: tuple[float, int, int], offsets: NDArray[np.int64]) -> Bytes:
    """Blur, displace, blur; the "swap" of the source is a one-way copy, for its operands are views."""
    sigma, delta, passes = c
    x = levels(smooth(unit(image), sigma))
    height, width = x.shape[:2]
    for i in range(passes):
        for h in range(height - delta, delta, -1):
            for w in range(width - delta, delta, -1):
                dy, dx = offsets[i, h, w]
                x[h, w] = x[h + dy, w + dx]
    return levels(smooth(unit(x), sigma))


def disk(radius: float, sigma: float) -> Array:
    """A normalised disk on a grid of at least 17 x 17, smoothed by OpenCV's GaussianBlur (3 or 5 taps)."""
    reach, half = (8, 1) if radius <= 8 else (radius, 2)
    grid = np.arange(-reach, reach + 1)
    kernel = (grid**2 + grid[:, None] ** 2 <= radius**2).astype(float)
    taps = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    return correlate(kernel / kernel.sum(), np.outer(taps, taps), mode="mirror")


def defocus_blur(image: Bytes, c: tuple[float, float]) -> Bytes:
    """Filter with a disk of radius c[0] smoothed by c[1]."""
    return levels(correlate(unit(image), disk(*c)[..., None], mode="mirror"))


def streak(plane: Bytes, radius: float, sigma: float, angle: float) -> Bytes:
    """ImageMagick 6's MotionBlurImage: a one-sided Gaussian along a line of whole pixels.

    The sum is rounded to one of 65,536 levels; the 8-bit PNG through which the source passes it then truncates.
    """
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    turn = np.pi * angle / 180
    line = len(steps) * np.array([np.sin(turn), np.cos(turn)])
    down, right = (np.ceil(steps * side / np.hypot(*line) - 0.5).astype(int) for side in line)
    rows, columns = np.indices(plane.shape[:2])
    total = np.zeros(plane.shape)
    for weight, dy, dx in zip(weights / weights.sum(), down, right, strict=True):
        y, x = (np.clip(i + d, 0, n - 1) for i, d, n in zip((rows, columns), (dy, dx), plane.shape[:2], strict=True))
        total += weight * plane[y, x]
    return (np.floor(total * 257 + 0.5) // 257).astype(np.uint8)


def motion_blur(image: Bytes, c: tuple[float, float], angle: float) -> Bytes:
    """Blur along a line of radius c[0], sigma c[1] and an angle in degrees, clockwise from the right."""
    return streak(image, *c, angle)


def clipped_zoom(x: Array, factor: float) -> Array:
    """Enlarge the centre of [H, W, C] bilinearly, corner on corner, and trim to the size it had."""
    size = x.shape[:2]
    x = zoom(centre(x, [int(np.ceil(n / factor)) for n in size]), (factor, factor, 1), order=1)
    return centre(x, size)


def centre(x: Array, size: Sequence[int]) -> Array:
    """The middle part of that height and width; of an odd margin, the smaller half lies at the top and left."""
    top, left = ((n - m) // 2 for n, m in zip(x.shape[:2], size, strict=True))
    return x[top : top + size[0], left : left + size[1]]


def zoom_blur(image: Bytes, c: Sequence[float]) -> Bytes:
    """Average the image with its enlargements by every factor of c."""
    x = unit(image)
    return levels((x + sum(clipped_zoom(x, factor) for factor in c)) / (len(c) + 1))


# --- weather


def grey(x: Array) -> Array:
    """Luma of RGB, as OpenCV's cvtColor has it."""
    return x @ np.array([0.299, 0.587, 0.114])


def snow(image: Bytes, c: tuple[float, ...], normal: Array, angle: float) -> Bytes:
    """Streaked flakes, and the same turned by 180 degrees, over a whitened image."""
    loc, scale, factor, threshold, radius, sigma, mix = c
    x = unit(image)
    noise = clipped_zoom((loc + scale * normal)[..., None], factor)
    flakes = unit(streak(levels(np.where(noise < threshold, 0, noise)), radius, sigma, angle))
    x = mix * x + (1 - mix) * np.maximum(x, grey(x)[..., None] * 1.5 + 0.5)
    return levels(x + flakes + np.rot90(flakes, k=2))


def frost(image: Bytes, c: tuple[float, float], texture: Bytes, top: int, left: int) -> Bytes:
    """c[0] of the image plus c[1] of a window of the texture."""
    height, width = image.shape[:2]
    window = texture[top : top + height, left : left + width]
    return np.clip(c[0] * image + c[1] * window, 0, 255).astype(np.uint8)


def plasma_fractal(size: int, decay: float, draw: Callable[[tuple[int, ...]], Array]) -> Array:
    """A diamond-square height map in [0, 1] that wraps round; draw(shape) gives U(-1, 1) arrays in order of use."""
    grid = np.zeros((size, size))
    step, wibble = size, 100.0

    def wibbled(total: Array) -> Array:
        return total / 4 + wibble * wibble * draw(total.shape)

    while step >= 2:
        half = step // 2
        corners = grid[::step, ::step]
        rows = corners + np.roll(corners, -1, axis=0)
        grid[half::step, half::step] = wibbled(rows + np.roll(rows, -1, axis=1))
        middles = grid[half::step, half::step]
        across = middles + np.roll(middles, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        grid[::step, half::step] = wibbled(across)
        along = middles + np.roll(middles, 1, axis=1) + corners + np.roll(corners, -1, axis=0)
        grid[half::step, ::step] = wibbled(along)
        step, wibble = half, wibble / decay
    grid -= grid.min()
    return grid / grid.max()


def fog(image: Bytes, c: tuple[float, float], draw: Callable[[tuple[int, ...]], Array]) -> Bytes:
    """Add c[0] of a plasma fractal and scale back by the image's maximum."""
    x = unit(image)
    height, width = x.shape[:2]
    peak = x.max()
    plasma = plasma_fractal(1 << (max(height, width) - 1).bit_length(), c[1], draw)
    return levels((x + c[0] * plasma[:height, :width, None]) * peak / (peak + c[0]))


def canny(x: NDArray[np.integer], low: int, high: int) -> NDArray[np.bool_]:
    """OpenCV's Canny: 3 x 3 Sobel, replicated border, L1 magnitude, thresholds exceeded, 8-connected hysteresis."""
    sobel = np.outer([1, 2, 1], [-1, 0, 1])
    gx, gy = (correlate(x.astype(int), kernel, mode="nearest") for kernel in (sobel, sobel.T))
    size = abs(gx) + abs(gy)
    rise, shallow = abs(gy) << 15, abs(gx) * TAN_22
    flat = rise < shallow
    steep = rise > shallow + (abs(gx) << 16)

    def beside(dy: int, dx: int) -> NDArray[np.int64]:
        return np.pad(size, 1)[1 + dy : 1 + dy + x.shape[0], 1 + dx : 1 + dx + x.shape[1]]

    ridge = np.select(
        [flat, ~flat & steep, (gx < 0) != (gy < 0)],
        [
            (size > beside(0, -1)) & (size >= beside(0, 1)),
            (size > beside(-1, 0)) & (size >= beside(1, 0)),
            (size > beside(-1, 1)) & (size > beside(1, -1)),
        ],
        (size > beside(-1, -1)) & (size > beside(1, 1)),
    )
    regions, _ = label(ridge & (size > low), np.ones((3, 3)))
    return (regions > 0) & np.isin(regions, regions[ridge & (size > high)])


def distance(edges: NDArray[np.bool_], limit: int) -> Array:
    """5 x 5 chamfer distance to the nearest edge, up to the limit: OpenCV's DIST_L2, in its 16 fractional bits."""
    far = limit << 16
    height, width = edges.shape
    steps = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3) if tuple(sorted((abs(dy), abs(dx)))) in CHAMFER]
    here = np.where(edges, 0, far)
    for _ in range(limit):
        around = np.pad(here, 2, constant_values=far)
        for dy, dx in steps:
            there = around[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]
            here = np.minimum(here, there + CHAMFER[min(abs(dy), abs(dx)), max(abs(dy), abs(dx))])
    return here / 65536


def equalised(x: Bytes) -> Bytes:
    """OpenCV's equalizeHist: the darkest level present becomes 0, float32, halves to even."""
    counts = np.bincount(x.ravel(), minlength=256)
    first = np.flatnonzero(counts)[0]
    if counts[first] == x.size:
        return x
    counts[: first + 1] = 0
    scale = np.float32(255) / np.float32(x.size - (x == first).sum())
    return np.clip(np.rint(np.cumsum(counts).astype(np.float32) * scale), 0, 255).astype(np.uint8)[x]


def box(x: NDArray[np.generic]) -> Array:
    """OpenCV's 3 x 3 blur, before rounding."""
    return correlate(x.astype(float), np.ones((3, 3)), mode="mirror") / 9


def spatter(image: Bytes, c: tuple[float, ...], normal: Array) -> Bytes:
    """Drops of water (c[5] = 0) or mud where smoothed noise exceeds a threshold; no drop leaves the image as it is."""
    loc, scale, sigma, threshold, amount, is_mud = c
    x = unit(image)
    liquid = smooth(loc + scale * normal, sigma)
    if is_mud:
        mud = smooth((liquid > threshold).astype(float), amount)
        mud = np.where(mud < 0.8, 0, mud)[..., None]
        return levels(x * (1 - mud) + MUD * mud)
    drops = (np.where(liquid < threshold, 0, liquid) * 255).astype(int) % 256  # uint8 wraps above 1, as on x86
    depth = equalised(box(distance(canny(drops, 50, 150), 20)).astype(np.float32).astype(np.uint8))
    depth = np.clip(correlate(depth.astype(int), EMBOSS, mode="mirror"), 0, 255)
    water = drops * np.rint(box(depth))
    return levels(x + amount * (water / max(water.max(), 1))[..., None] * WATER)


# --- colour


def brightness(image: Bytes, c: float) -> Bytes:
    """Add c to the value of HSV."""
    hsv = rgb_to_hsv(unit(image))
    hsv[..., 2] = np.clip(hsv[..., 2] + c, 0, 1)
    return levels(hsv_to_rgb(hsv))


def saturate(image: Bytes, c: tuple[float, float]) -> Bytes:
    """Scale the saturation of HSV by c[0] and add c[1]."""
    hsv = rgb_to_hsv(unit(image))
    hsv[..., 1] = np.clip(hsv[..., 1] * c[0] + c[1], 0, 1)
    return levels(hsv_to_rgb(hsv))


def contrast(image: Bytes, c: float) -> Bytes:
    """Draw every channel towards its mean, keeping a share c of the difference."""
    x = unit(image)
    mean = x.mean(axis=(0, 1), keepdims=True)
    return levels((x - mean) * c + mean)


# --- geometry and coding


def elastic_transform(image: Bytes, c: tuple[float, float, float], corners: Array, dx: Array, dy: Array) -> Bytes:
    """An affine map of three points moved by affine x corners, then displacements alpha x smoothed noise.

    The three points are built from (H, W) and used as (x, y), as in the source: off centre unless H = W.
    """
    alpha, sigma, affine = c
    x = unit(image)
    height, width = x.shape[:2]
    rows, columns = np.indices((height, width))
    middle, side = np.array([height // 2, width // 2]), min(height, width) // 3
    before = middle + side * np.array([[1, 1], [1, -1], [-1, -1]])
    after = np.column_stack([before + affine * corners, np.ones(3)])
    back = np.linalg.solve(after, before)  # [x', y', 1] @ back = [x, y]
    xs, ys = np.moveaxis(np.stack([columns, rows, np.ones_like(rows)], -1) @ back, -1, 0)
    x = sampled(x, ys, xs, "mirror")
    dx, dy = (alpha * smooth(field, sigma, "reflect", 3) for field in (dx, dy))
    return levels(sampled(x, rows + dy, columns + dx, "reflect"))


def sampled(x: Array, ys: Array, xs: Array, mode: str) -> Array:
    """Bilinear samples of every channel at (ys, xs), beyond the border by scipy.ndimage's mode."""
    return np.stack([map_coordinates(plane, (ys, xs), order=1, mode=mode) for plane in np.moveaxis(x, -1, 0)], -1)


def pixelate(image: Bytes, c: float) -> Bytes:
    """Shrink to the whole part of c x size by Pillow's box filter, and enlarge by it."""
    height, width = image.shape[:2]
    small = Image.fromarray(image).resize((int(width * c), int(height * c)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(image: Bytes, c: int) -> Bytes:
    """Pillow's JPEG of quality c, decoded."""
    stream = BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=c)
    return np.asarray(Image.open(stream))


def frost_scaled(texture: Bytes, factor: float) -> Bytes:
    """OpenCV's resize by fx = fy = factor: bilinear, border replicated, no antialiasing, in its fixed point."""

    def taps(size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        place = np.clip((np.arange(np.rint(size * factor)) + 0.5) / factor - 0.5, 0, size - 1)
        first = place.astype(int)
        return first, np.minimum(first + 1, size - 1), np.rint((place - first) * 2048).astype(int)[:, None]

    (top, bottom, low), (left, right, far) = map(taps, texture.shape[:2])
    x = texture.astype(int)
    rows = (x[:, left] * (2048 - far) + x[:, right] * far) >> 4
    mixed = ((rows[top] * (2048 - low)[..., None]) >> 16) + ((rows[bottom] * low[..., None]) >> 16)
    return ((mixed + 2) >> 2).astype(np.uint8)
