"""Published sets of stored corruptions whose categories their authors name. Does not import torch."""

from __future__ import annotations

OTHER = "other"
"""The category of a stored corruption that no table names."""
STORED = {
    "near_focus": "depth_of_field", "far_focus": "depth_of_field",
    "xy_motion_blur": "camera_motion", "z_motion_blur": "camera_motion",
    "flash": "lighting",
    "fog_3d": "weather",
    "bit_error": "video", "h265_abr": "video", "h265_crf": "video",
    "iso_noise": "noise", "low_light": "noise", "color_quant": "noise",
}  # fmt: skip
"""ImageNet-3DCC's corruptions by the categories of its paper, section 3.1 (Kar et al. 2022, arXiv:2203.01441)."""


def category_of(name: str) -> str:
    """The category of a stored corruption that this program does not make."""
    return STORED.get(name, OTHER)
