"""Which attention heads of a vision transformer do what, and which carry it through a distribution shift?

The names below are imported when first used; they return polars frames. See docs/tutorial.md.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["ablate", "compare", "evalshift", "load_model", "open_shards", "specialize"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from vhs import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'vhs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
