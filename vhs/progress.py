"""How long work reports where it is, and what a reader should know; the caller decides whether anybody sees it."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is under way, how much of it is done, and how much there is."""
Note = Callable[[str], None]
"""Called with something that a reader of the result should know."""


def silent(_what: str, _done: int, _total: int) -> None:
    """For those who do not want any progress."""


def unheard(_message: str) -> None:
    """For those who do not want any notes."""
