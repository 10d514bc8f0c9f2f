"""What can go wrong, and the exit code each kind ends the program with.

A message says what is wrong, where, what was expected, and what to do, in one line.
"""


class VhsError(Exception):
    """The work failed (exit code 1)."""

    exit_code = 1


class Terminated(BaseException):
    """SIGTERM or SIGHUP (its number) arrived; unwinds like Ctrl-C, so that temporary files go."""

    def __init__(self, number: int = 15) -> None:
        super().__init__(number)
        self.number = number


class UsageError(VhsError):
    """The command line asks for something that cannot be (exit code 2)."""

    exit_code = 2


class InputError(VhsError):
    """An input is missing or unreadable (exit code 3)."""

    exit_code = 3


class UnreadableError(InputError):
    """What many samples lie in cannot be read or reached (exit code 3): never one bad sample that may be left out."""


class MismatchError(VhsError):
    """Inputs that are fine alone do not fit each other (exit code 4)."""

    exit_code = 4


def check_range(name: str, value: float | None, least: float, most: float | None = None) -> None:
    """Raises UsageError for a number that Python was given outside its range; None is not given."""
    if value is not None and not (least <= value and (most is None or value <= most)):
        expected = f"{least:g} or more" if most is None else f"{least:g} to {most:g}"
        raise UsageError(f"{name} is {value}; expected {expected}.")


def choices(names: object) -> str:
    """`a, b or c`, for messages that list the legal values."""
    words = [str(name) for name in names]  # type: ignore[attr-defined]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
