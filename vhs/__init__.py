"""Which attention heads of a vision transformer do what, and which carry it through a distribution shift?

The names below are imported when first used; they return polars frames. See docs/notebook.md.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = [
    "ablate", "behind", "compare", "evalshift", "head_outputs", "load_model", "maps", "match", "merge", "open_shards",
    "plot", "probe", "prune", "read_images", "read_maps", "report", "shard", "specialize", "train", "without_heads",
]  # fmt: skip
ERRORS = ("VhsError", "UsageError", "InputError", "MismatchError")


def __getattr__(name: str) -> Any:
    if name in __all__:
        from vhs import notebook

        return getattr(notebook, name)
    if name in ERRORS:
        from vhs import errors

        return getattr(errors, name)
    raise AttributeError(f"module 'vhs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__, *ERRORS]
