"""The published strength of each corruption, severities 1 to 5.

Source: hendrycks/robustness @8190fe3, ImageNet-C/create_c: make_imagenet_c.py ("imagenet224"),
make_cifar_c.py ("cifar32"), make_tinyimagenet_c.py ("tiny64"), make_imagenet_c_inception.py ("inception299").
"""

from __future__ import annotations

TABLES: dict[str, dict[str, tuple[float, ...]]] = {
    "cifar32": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
        "shot_noise": (500, 250, 100, 75, 50),
        "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
        "jpeg_compression": (80, 65, 58, 50, 40),
    },
    "tiny64": {
        "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
        "shot_noise": (250, 100, 50, 30, 15),
        "impulse_noise": (0.01, 0.02, 0.05, 0.08, 0.14),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "pixelate": (0.9, 0.8, 0.7, 0.6, 0.5),
        "jpeg_compression": (65, 58, 50, 40, 25),
    },
    "imagenet224": {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "shot_noise": (60, 25, 12, 5, 3),
        "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
        "jpeg_compression": (25, 18, 15, 10, 7),
    },
    "inception299": {
        "gaussian_noise": (0.09, 0.13, 0.19, 0.27, 0.40),
        "shot_noise": (50, 20, 10, 5, 3),
        "impulse_noise": (0.04, 0.07, 0.10, 0.18, 0.28),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "pixelate": (0.5, 0.4, 0.3, 0.25, 0.2),
        "jpeg_compression": (23, 16, 13, 8, 5),
    },
}

SIDES = {"cifar32": 32, "tiny64": 64, "imagenet224": 224, "inception299": 299}


def nearest_table(height: int, width: int) -> str:
    """The name of the parameter table whose image side is nearest, in ratio, to this image's shorter side."""
    side = min(height, width)
    return min(SIDES, key=lambda name: max(side / SIDES[name], SIDES[name] / side))
