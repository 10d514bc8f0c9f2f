"""How a condition is written in figures, on terminals and in reports: `gaussian noise 3`."""

from __future__ import annotations


def condition(shift: str, corruption: str | None, severity: int) -> str:
    """`clean`, `imagenet-r`, `gaussian noise 3`."""
    return f"{plain(corruption)} {severity}" if corruption else shift


def named(name: str) -> str:
    """The same of what tables of two conditions call it, `imagenet-c/gaussian_noise:3`."""
    shift, slash, rest = name.partition("/")
    if not slash:
        return name
    corruption, _, severity = rest.partition(":")
    return f"{plain(corruption)} {severity}".strip() or shift


def plain(name: str) -> str:
    """A name of a table as words: `gaussian noise`."""
    return name.replace("_", " ")
