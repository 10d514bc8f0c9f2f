"""Which arm of a study a model is of, and which of its seeds: told by its name."""

from __future__ import annotations

import re
from typing import NamedTuple

from vhs.errors import UsageError
from vhs.roles.recipes import run_of

NUMBERED = re.compile(r"(.+?)[-_.](?:seed[-_]?|s)?(?P<seed>\d+)$")


class Named(NamedTuple):
    """arm: what runs of other seeds share; seed: what tells these apart, as it is written."""

    arm: str
    seed: str


def compiled(text: str) -> re.Pattern[str]:
    """The regular expression of --group-by. Raises UsageError for one that is none."""
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"--group-by {text}: is no regular expression: {error}.") from error


def pattern(text: str | None) -> re.Pattern[str] | None:
    """The same of one that may be left out."""
    return None if text is None else compiled(text)


def named(model: str, by: re.Pattern[str] | None) -> Named | None:
    """By an expression: its first bracket is the arm, the bracket `seed`, or what it leaves of the run's name, the
    seed; without: `runs/told-3` is seed 3 of the arm `told`, and a name without a number at its end an arm of one run.

    Only names are looked at, which all tables have. None for a model that the expression does not fit.
    """
    run = run_of(model)
    if by is None and run.startswith(("timm:", "hf:")):
        return Named(run, "")  # its numbers are sizes
    found = (by or NUMBERED).search(run if by else run.rsplit("/", 1)[-1])
    if found is None:
        return None if by else Named(run.rsplit("/", 1)[-1], "")
    place = 1 if found.re.groups and found[1] is not None else 0
    told = found.groupdict().get("seed")
    return Named(found[place], told if told is not None else run[: found.start(place)] + run[found.end(place) :])
