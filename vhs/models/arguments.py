"""Arguments of a timm architecture as text, `img_size=98x56,depth=3`: which there are, and what is believed of each.

Kept as text in a checkpoint's spec, so that it is compared and stored as it was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vhs.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

LARGEST_SIDE = 2048
"""Of an image, px."""
LARGEST = {
    "img_size": LARGEST_SIDE, "patch_size": 256, "in_chans": 3, "num_classes": 1 << 20, "depth": 1024, "depths": 256,
    "embed_dim": 65536, "num_heads": 4096, "reg_tokens": 4096, "window_size": 256, "mlp_ratio": 64.0,
    "init_values": 100.0,
}  # fmt: skip
"""Of numbers: several, where timm takes several, are joined by x. Whole ones but the last two."""
REAL = ("mlp_ratio", "init_values")
FLAGS = ("class_token", "qkv_bias", "qk_norm", "pre_norm", "final_norm", "no_embed_class", "fc_norm")
WORDS = {"global_pool": ("token", "avg", "avgmax", "max", "map")}
NAMES = (*LARGEST, *FLAGS, *WORDS)
LARGEST_PATCHES = 16384
"""Of an image, where an argument changes them: attention over more takes gigabytes."""
SPEC = ("img_size", "in_chans", "num_classes")
"""Those that a spec holds as numbers of its own."""


def parse(text: str) -> dict[str, Any]:
    """`depth=3,img_size=98x56` -> {"depth": 3, "img_size": (98, 56)}. Raises UsageError for anything else."""
    found: dict[str, Any] = {}
    for part in text.split(",") if text else ():
        name, equals, value = part.partition("=")
        if not equals or name not in NAMES:
            raise UsageError(f"{part[:60]!r}: expected NAME=VALUE, with one of the names {', '.join(NAMES)}.")
        if name in found:
            raise UsageError(f"{name} is given twice.")
        found[name] = _value(name, value)
    return found


def text_of(values: Iterable[tuple[str, Any]]) -> str:
    """The text of arguments, in the order of their names: the inverse of `parse`."""
    return ",".join(f"{name}={_text(value)}" for name, value in sorted(values))


def too_fine(net: nn.Module) -> str | None:
    """Why a network cuts images into more patches than anybody runs; None where it does not."""
    patches = getattr(getattr(net, "patch_embed", None), "num_patches", None) or 0
    return f"cuts an image into {patches} patches; at most {LARGEST_PATCHES} are" if patches > LARGEST_PATCHES else None


def _value(name: str, text: str) -> Any:
    if name in FLAGS:
        if text not in ("true", "false"):
            raise UsageError(f"{name}={text[:40]}: expected true or false.")
        return text == "true"
    if name in WORDS:
        if text not in WORDS[name]:
            raise UsageError(f"{name}={text[:40]}: expected {', '.join(WORDS[name])}.")
        return text
    if name in REAL:
        return _real(name, text)
    parts = text.split("x")
    if len(parts) > 8 or not all(re.fullmatch(r"[0-9]{1,9}", part) for part in parts):
        raise UsageError(f"{name}={text[:40]}: expected a whole number, or several joined by x.")
    numbers = tuple(int(part) for part in parts)
    least = int(name != "reg_tokens")
    if not all(least <= number <= LARGEST[name] for number in numbers):
        raise UsageError(f"{name}={text[:40]}: expected {least} to {LARGEST[name]}.")
    return numbers[0] if len(numbers) == 1 else numbers


def _real(name: str, text: str) -> float | None:
    if name == "init_values" and text == "none":
        return None
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,17})?(e-?[0-9]{1,2})?", text) or not 0 < float(text) <= LARGEST[name]:
        raise UsageError(f"{name}={text[:40]}: expected a number above 0, up to {LARGEST[name]:g}.")
    return float(text)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)
