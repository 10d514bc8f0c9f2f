"""What a pruning run orders heads by, how far it goes and what it certifies: parsed once, from what was typed.

Importing this costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vhs.errors import UsageError, check_range, choices
from vhs.grid import Place, named_sets

WEIGHT_FILLS = ("zero", "mean-flat", "compensate")
"""What removed heads leave behind in the projection's bias: nothing, their mean output, or what others tell of it."""
RIDGE = 1e-3
OVER = ("worst", "corruption", "mean")
"""Of what a certificate bounds the loss: every condition; each corruption's mean over severities; the mean of all."""
CHOSEN, SHIFTED, OTHERS = "chosen", "shifted", "others"
"""Conditions an order measures under: those of --choose-on; the reported shifts; generated ones that are not."""


@dataclass(frozen=True)
class OrderKind:
    """A way to order heads. under: the conditions it measures; words: what it is, for help and documentation."""

    name: str
    words: str
    under: str = CHOSEN


ORDERS = {
    kind.name: kind
    for kind in (
        OrderKind("effect", "change of the loss without the head"),
        OrderKind("taylor", "its first-order estimate, signed"),
        OrderKind("michel", "the absolute first-order score of Michel et al. 2019"),
        OrderKind("direct", "change of the loss without what the head gives the logits directly"),
        OrderKind("backward", "effect, measured again after every head that went"),
        OrderKind("forward", "from no head on, the one that lowers the loss most"),
        OrderKind("oracle", "accuracy under the reported shifts, labels and all", SHIFTED),
        OrderKind("generated", "change of the loss under generated corruptions that are not reported", OTHERS),
        OrderKind("disagreement", "divergence from the whole model's answers under the reported shifts", SHIFTED),
        OrderKind("agreement", "divergence between augmented views under the reported shifts", SHIFTED),
        OrderKind("entropy", "entropy of the answers under the reported shifts: a negative control", SHIFTED),
    )
}
"""Ways to order heads, least needed first. The last three need no labels."""
LIST, SINGLE, RANDOM = "list", "single", "random"
"""Orders that are no choice: heads that were named; each head alone; a random order, numbered."""


@dataclass(frozen=True)
class WeightFill:
    """kind: of WEIGHT_FILLS; ridge: of `compensate`, in mean variances of the outputs that stay."""

    kind: str = "zero"
    ridge: float = RIDGE


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """orders: the first is the one whose heads go; listed: heads named instead; every: heads a step, None by their
    number; again: whether heads are measured again after each step; random: random orders beside it. keep, flops,
    tolerance, certify: how far, at most one of them: heads left, share of the FLOPs, loss of accuracy on the images
    that choose, or certified on the others, of what `over` says. speed: whether images a second are measured."""

    orders: tuple[str, ...] = ("effect",)
    listed: tuple[Place, ...] = ()
    every: int | None = None
    again: bool = False
    random: int = 20
    fill: WeightFill = WeightFill()
    keep: int | None = None
    flops: float | None = None
    tolerance: float | None = None
    certify: float | None = None
    over: str = "worst"
    confidence: float = 0.95
    speed: bool = False
    among: tuple[int, ...] = ()

    def checked(self, *, tables: bool, saving: bool) -> Pruning:
        """Itself. tables: whether some are given to order by; saving: whether a model is to be saved.

        Raises UsageError for values out of range, and for options that do not go together.
        """
        self._check_ranges()
        named = ("keep", "flops", "tolerance", "certify")
        given = [name for name in named if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(f"--{given[0]} and --{given[1]}: both say how far heads go. Drop one of them.")
        if self.listed and given and given != ["certify"]:
            raise UsageError(f"--select and --{given[0]}: both say which heads go. Drop one of them.")
        if saving and not given and not self.listed:
            raise UsageError("-o: how many heads shall go? Give --keep, --flops, --tolerance, --certify or --select.")
        if self.listed and self.among:
            raise UsageError("--select and --among: both say which heads may go. Drop one of them.")
        if tables and ("effect" not in self.orders or self.listed):
            raise UsageError("tables of effects are what --order effect goes by. Ask for it, or drop them.")
        if tables and self.again:
            raise UsageError("--again: measures anew, and the tables hold the whole model's heads. Drop one of them.")
        return self

    def _check_ranges(self) -> None:
        if self.over not in OVER:
            raise UsageError(f"--over {self.over}: expected {choices(OVER)}.")
        for name, least, most in (
            ("keep", 0, None), ("flops", 0, 1), ("tolerance", 0, 1), ("confidence", 0.5, 0.998), ("every", 1, None),
            ("random", 0, 1000), ("certify", 1e-4, 0.5),
        ):  # fmt: skip
            check_range(name, getattr(self, name), least, most)

    @property
    def level(self) -> float:
        """Odds that the certificate is wrong."""
        return 1 - self.confidence


def fill_of(fill: str, *, compensate: bool, ridge: float) -> WeightFill:
    """What heads leave behind. Raises UsageError for fills that weights cannot hold."""
    if fill not in WEIGHT_FILLS[:2]:
        raise UsageError(f"--fill {fill}: weights hold zero and mean-flat alone; --compensate does more.")
    if compensate and fill != "zero":
        raise UsageError("--compensate: has no place beside --fill, which it goes beyond. Drop one of them.")
    if not 0 < ridge < 1e6:
        raise UsageError(f"--ridge {ridge:g}: expected a number above 0.")
    return WeightFill("compensate" if compensate else fill, ridge)


def orders_of(names: Sequence[str]) -> tuple[str, ...]:
    """Several in one word or in several, each once."""
    found = tuple(dict.fromkeys(part.strip() for name in names for part in name.split(",") if part.strip()))
    for name in found:
        if name not in ORDERS and name != RANDOM:
            raise UsageError(f"--order {name}: expected {choices((*ORDERS, RANDOM))}.")
    return found or ("effect",)


def layers_of(among: str | None) -> tuple[int, ...]:
    """`last`, or numbers of layers with commas between. Raises UsageError."""
    if among is None:
        return ()
    words = [word.strip() for word in among.split(",")]
    if not all(word.isdecimal() or word == "last" for word in words):
        raise UsageError(f"--among {among}: expected layers by number from 0, or last: --among 2,3.")
    return tuple(dict.fromkeys(-1 if word == "last" else int(word) for word in words))


def heads_of(select: str | None) -> tuple[Place, ...]:
    """`3.1,5.0`, or `L3H1+L5H0`, as heads that go in this order."""
    if select is None:
        return ()
    return tuple(
        dict.fromkeys(part[0] for word in select.replace("+", ",").split(",") for part in named_sets([word]).sets)
    )
