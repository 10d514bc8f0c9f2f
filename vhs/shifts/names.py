"""Names of the published corruptions, as shifts/kinds lists them."""

from __future__ import annotations

from vhs.shifts.kinds import CIFAR_C_BAR, CORRUPTIONS, FAMILY, FAMILY_EXTRA, IMAGENET_C_BAR, TEXTURE_SHAPE

CATEGORY = {name: kind.category for name, kind in CORRUPTIONS.items() if kind.category is not None}
IMAGENET_C = {
    category: tuple(name for name, of in CATEGORY.items() if of == category)
    for category in dict.fromkeys(CATEGORY.values())
}
"""The 15 corruptions of ImageNet-C by category, in the published order; mCE is over these."""

EXTRA = tuple(name for name, kind in CORRUPTIONS.items() if kind.family == FAMILY_EXTRA)
"""The four that the benchmark keeps for validation; they are never part of mCE."""

FAMILIES = {
    family: tuple(name for name, kind in CORRUPTIONS.items() if family in (kind.family, kind.also))
    for family in (FAMILY, FAMILY_EXTRA, IMAGENET_C_BAR, CIFAR_C_BAR)
}
"""The families that `--shift` takes whole."""
CORRUPTION_NAMES = (*CATEGORY, *EXTRA)
STORED_NAMES = tuple(dict.fromkeys(name for names in FAMILIES.values() for name in names))
"""Those of which files are published."""
EVERY_NAME = tuple(CORRUPTIONS)
SEVERITIES = (1, 2, 3, 4, 5)

__all__ = [
    "CATEGORY", "CORRUPTION_NAMES", "EVERY_NAME", "EXTRA", "FAMILIES", "FAMILY", "FAMILY_EXTRA", "IMAGENET_C",
    "SEVERITIES", "STORED_NAMES", "TEXTURE_SHAPE",
]  # fmt: skip
