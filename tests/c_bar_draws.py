"""The random numbers that ours takes for one sample, as the definitions of C-bar take them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vhs.seeds import hash64, sample_keys
from vhs.shifts import fields
from vhs.shifts.kinds import CORRUPTIONS

SAMPLE = "a"
WHOLE_TURN = 2 * math.pi


class Draws:
    """The random numbers of sample SAMPLE, taken from the fields themselves."""

    def __init__(self, name: str, severity: int) -> None:
        self.key = hash64(0, name, severity)

    def words(self, count: int, stream: int = 0) -> torch.Tensor:
        return fields.words(torch.from_numpy(sample_keys([SAMPLE]).view(np.int64)), count, self.key, stream)[0]

    def uniform(self, count: int, stream: int = 0) -> NDArray[np.float64]:
        return (self.words(count, stream).numpy().view(np.uint32) >> 8) / 2**24

    def normal(self, count: int, stream: int = 0) -> NDArray[np.float64]:
        return fields.normal(self.words(count, stream)[None])[0].double().numpy()

    def phases(self, count: int, size: tuple[int, int]) -> NDArray[np.float64]:
        """[count, H, W]: pixels in order take the numbers in order up to the middle, then back; the middle one is 0."""
        half = size[0] * size[1] // 2
        drawn = self.uniform(count * half).reshape(count, half) * WHOLE_TURN
        middle = np.zeros((count, size[0] * size[1] % 2))
        return np.concatenate([drawn, middle, drawn[:, ::-1]], axis=1).reshape(count, *size)


def injected(name: str, severity: int, size: tuple[int, int]) -> dict[str, Any]:
    """What the definitions take, of the numbers that ours takes for sample SAMPLE."""
    draws, side, sides = Draws(name, severity), min(size), np.array(size)
    if name == "single_frequency_greyscale":
        u = draws.uniform(4)
        larger = (2 * u[0] - 1) * np.pi
        both = [larger, (2 * u[1] - 1) * abs(larger)]
        return {"freq": both[::-1] if u[2] < 0.5 else both, "phase": u[3] * WHOLE_TURN}
    if name == "cocentric_sine_waves":
        u = draws.uniform(5)
        centre = np.array([u[1] * size[0], u[0] * size[1]])
        return {"centre": centre, "freq": u[2] * 10, "amplitude": u[3] * side / 10, "ring": u[4] * side / 10}
    if name == "plasma_noise":
        u = draws.uniform(4)
        more = {"sharpness": 0.5 + u[2] / 2, "scale": (0.075 + u[3] * 0.125) * side}
        return {"time": u[0] * 6 * np.pi, "steps": 4 + int(u[1] * 3), **more}
    if name in ("blue_noise_sample", "brownish_noise"):
        return {"phases": draws.phases(1 if name == "blue_noise_sample" else 3, size)}
    if name == "sparkles":
        counts = 50 + fields.below(draws.words(5, 2), 150).numpy()
        normals = draws.normal(5 * 200).reshape(5, 200)
        normal = [row[:count] for row, count in zip(normals, counts, strict=True)]
        return {"centres": draws.uniform(10, 1).reshape(5, 2) * sides, "normals": normal}
    if name == "inverse_sparkles":
        count = 50 + int(fields.below(draws.words(1, 2), 150))
        return {"centre": (0.25 + draws.uniform(2, 1) / 2) * sides, "normal": draws.normal(200)[:count]}
    if name == "perlin_noise":
        vectors = fields.below(draws.words(512, 1), 512).numpy().reshape(2, 256).T.astype(float) - 256
        gradients = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return {"order": draws.words(256).numpy().argsort(kind="stable"), "gradients": gradients}
    if name == "checkerboard_cutout":
        u = draws.uniform(2)
        board = draws.uniform(64 * 64, 1).reshape(64, 64)
        return {"angle": u[0] * WHOLE_TURN, "scale": max((0.1 + 0.15 * u[1]) * side, 1), "draws": board}
    if name == "caustic_refraction":
        u = draws.uniform(2)
        return {"time": 0.5 + 1.5 * u[0], "size": (0.75 + u[1] / 2) * side}
    if name == "ripple":
        u = draws.uniform(4)
        return {"wavelengths": (0.1 + 0.2 * u[:2]) * side, "phases": u[2:] * WHOLE_TURN}
    if name == "pinch_and_twirl":
        cells = 5 if side > 85 else 3
        return {"signs": np.where(draws.words(cells * cells).numpy() >= 0, 1, -1).reshape(cells, cells)}
    if name == "lines":
        number = int(CORRUPTIONS[name].strength(severity, size) / 10 * side)
        u = draws.uniform(2)
        lots = draws.uniform(3 * number, 1).reshape(number, 3)
        return {"draws": lots, "angle": u[0] * WHOLE_TURN, "variation": 0.1 + 0.9 * u[1]}
    if name == "transverse_chromatic_abberation":
        return {"order": draws.words(3).numpy().argsort(kind="stable").tolist()}
    return {}
