"""A comparison of arms as it is typed: `told - alone`, `gain = told-wide - alone-wide - told + alone`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import combinations

from vhs.errors import MismatchError, UsageError

SIGNS = {"+": 1.0, "-": -1.0}
WORD = re.compile(r"'[^']*'|\"[^\"]*\"|\S+")


@dataclass(frozen=True)
class Effect:
    """A weighted sum of arms. name: what it is called in the table."""

    name: str
    weights: dict[str, float]


def parse(text: str) -> Effect:
    """Arms with + and - between them, numbers before them as weights, blanks around everything, quotes around an arm
    that has blanks; NAME = before it names it. Raises UsageError."""
    name, equals, right = text.partition(" = ")
    words = [word.strip("'\"") for word in WORD.findall(right if equals else text)]
    weights: dict[str, float] = {}
    sign, weight, expects = 1.0, 1.0, True
    for place, word in enumerate(words):
        before_arm = place + 1 < len(words) and words[place + 1] not in SIGNS
        if word in SIGNS:
            if expects and place:
                raise _wrong(text, f"{word} stands where an arm was expected")
            sign, weight, expects = SIGNS[word], 1.0, True
        elif not expects:
            raise _wrong(text, f"no + or - before {word}")
        elif before_arm and weight == 1.0 and (number := _number(word)) is not None:
            weight = number
        else:
            weights[word] = weights.get(word, 0.0) + sign * weight
            expects = False
    if expects or not weights:
        raise _wrong(text, "it ends without an arm")
    return Effect(name.strip() if equals else " ".join(words), weights)


def tuned(effect: Effect, scores: Mapping[str, float] | None) -> Effect:
    """With every arm that has a * in it replaced by the best of those that fit, which the name then tells.

    scores: arm -> what it is chosen by, the higher the better. Raises UsageError or MismatchError where none can be.
    """
    if not any("*" in arm for arm in effect.weights):
        return effect
    if scores is None:
        raise UsageError(f"--effect {effect.name}: an arm with a * is chosen by a table: --choose-by VALIDATION.")
    weights: dict[str, float] = {}
    for arm, weight in effect.weights.items():
        fit = [name for name in scores if fnmatchcase(name, arm)] if "*" in arm else [arm]
        if not fit:
            raise MismatchError(
                f"--effect {effect.name}: no arm of --choose-by is {arm}; there are {', '.join(scores)}."
            )
        best = max(fit, key=lambda name: scores.get(name, 0.0))
        weights[best] = weights.get(best, 0.0) + weight
    told = " ".join(_term(arm, weight) for arm, weight in weights.items()).removeprefix("+ ")
    return Effect(f"{effect.name} ({told})", weights)


def _term(arm: str, weight: float) -> str:
    return f"{'-' if weight < 0 else '+'} " + (f"{abs(weight):g} " if abs(weight) != 1 else "") + arm


def chosen(
    typed: Sequence[str], reference: str | None, arms: Sequence[str], scores: Mapping[str, float] | None = None
) -> list[Effect]:
    """The effects asked for: those typed, and every arm less the reference; of neither, the later of every two arms
    less the earlier. Raises UsageError, or MismatchError for an arm that there is not."""
    found = [tuned(parse(text), scores) for text in typed]
    if reference is not None:
        _check(reference, arms, "--reference")
        found += [Effect(f"{arm} - {reference}", {arm: 1.0, reference: -1.0}) for arm in arms if arm != reference]
    if not typed and reference is None:
        found = [Effect(f"{b} - {a}", {b: 1.0, a: -1.0}) for a, b in combinations(arms, 2)]
    if scores is not None and not any("*" in text for text in typed):
        raise UsageError("--choose-by: chooses arms with a *, and no --effect has one: 'told-* - alone'.")
    for effect in found:
        for arm in effect.weights:
            _check(arm, arms, f"--effect {effect.name}")
    return list({tuple(sorted(effect.weights.items())): effect for effect in reversed(found)}.values())[::-1]


def _check(arm: str, arms: Sequence[str], where: str) -> None:
    if arm not in arms:
        told = ", ".join(arms[:12]) + (f" and {len(arms) - 12} more" if len(arms) > 12 else "")
        raise MismatchError(f"{where}: no model is of the arm {arm}; there are {told}.")


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"--effect '{text}': {why}. Expected arms between + and -, with blanks: 'told - alone'.")
