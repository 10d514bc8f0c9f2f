"""Names of the published corruptions; importing them costs nothing."""

from __future__ import annotations

FAMILY, FAMILY_EXTRA, TEXTURE_SHAPE = "imagenet-c", "imagenet-c-extra", "texture-shape"
"""What `--shift` calls the 15, the 4 more, and the transforms that keep texture or shape."""

IMAGENET_C = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
"""The 15 corruptions of ImageNet-C by category, in the published order; mCE is over these."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four that the benchmark keeps for validation; they are never part of mCE."""

CATEGORY = {name: category for category, names in IMAGENET_C.items() for name in names}
CORRUPTION_NAMES = (*CATEGORY, *EXTRA)
TEXTURE_SHAPE_NAMES = ("grayscale", "low_pass", "high_pass", "patch_shuffle")
EVERY_NAME = (*CORRUPTION_NAMES, *TEXTURE_SHAPE_NAMES)
"""As in corruption.CORRUPTIONS, which needs torch; a test compares them."""
SEVERITIES = (1, 2, 3, 4, 5)
