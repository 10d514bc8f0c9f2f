"""What an ablation removes and what it puts there: parsed once, from what a command or a notebook was told.

Importing this costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vhs.errors import UsageError, choices
from vhs.grid import HEADS, UNITS, Units, named_sets
from vhs.measures.fill_kinds import FILLS, ZERO, FillKind


@dataclass(frozen=True)
class Ablation:
    """units: what is removed, each in turn; fills: what stands in for it, each in turn; rescale: whether the kept heads
    of its layer are scaled by H / kept; method: of METHODS."""

    units: Units = HEADS
    fills: tuple[FillKind, ...] = (ZERO,)
    rescale: bool = False
    method: str = "exact"


HEADS_BY_ZEROS = Ablation()
METHODS = ("exact", "taylor", "direct")
"""By removing heads, or estimates: one backward pass, or what a head gives the logits."""


def parse(
    unit: str = "head", select: Sequence[str] = (), fill: str | Sequence[str] = "zero", *, rescale: bool = False,
    method: str = "exact", exact_only: bool = False,
) -> Ablation:  # fmt: skip
    """The options as they are typed.

    select: sets of heads instead of a unit, each like `L3H1,L5H0`; exact_only: whether something else is asked for that
    estimates have not.

    Raises UsageError for what there is not, listing what there is, and for options that do not go together.
    """
    if method not in METHODS:
        raise UsageError(f"--method {method}: expected {choices(METHODS)}.")
    fills = _fills(fill)
    exact_only |= len(fills) > 1 or any(kind.twin for kind in fills) or unit != "head" or bool(select) or rescale
    if method != "exact" and exact_only:
        raise UsageError(
            f"--method {method}: is of single heads and one fill, without folds, outcomes, groups and twins."
        )
    zeros = fills == (ZERO,)
    if rescale and not zeros:
        names = ",".join(kind.name for kind in fills)
        raise UsageError(
            f"--rescale: scales what is kept when heads are zeroed; with --fill {names} nothing is missing."
        )
    if select and unit != "head":
        raise UsageError(f"--select: removes the named heads together; --unit {unit} does not go with it.")
    if unit not in UNITS:
        raise UsageError(f"--unit {unit}: expected {choices(UNITS)}.")
    if unit == "mlp" and (not zeros or rescale):
        raise UsageError("--unit mlp: MLPs are removed by zeros, without --fill and --rescale.")
    return Ablation(named_sets(select) if select else Units(unit), fills, rescale, method)


def _fills(text: str | Sequence[str]) -> tuple[FillKind, ...]:
    """`zero,mean` -> the fills, each once."""
    names = list(dict.fromkeys(text.split(",") if isinstance(text, str) else text))
    for name in names:
        if name not in FILLS:
            raise UsageError(f"--fill {name}: expected {choices(FILLS)}, several joined by commas.")
    return tuple(FILLS[name] for name in names)
