"""How long work reports where it is; the caller decides whether anybody sees it."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is under way, how much of it is done, and how much there is."""


def silent(_what: str, _done: int, _total: int) -> None:
    """For those who do not want any."""
