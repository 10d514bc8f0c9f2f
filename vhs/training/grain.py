"""Which layers and heads of a teacher belong to which of a student, as typed and by stated rules."""

from __future__ import annotations

from dataclasses import dataclass

from vhs.errors import UsageError

GRAINS = ("encoder", "block", "head")
EXPECTED = "expected encoder, block:0,3 (or block:STUDENT:TEACHER,…) or head:0.1:2.3,… (student's head : teacher's)"


@dataclass(frozen=True)
class Grain:
    """What is distilled. kind: of GRAINS; layers: of `block`, (student's, teacher's or None for the rule's); heads: of
    `head`, ((layer, head) of the student, of the teacher)."""

    kind: str = "encoder"
    layers: tuple[tuple[int, int | None], ...] = ()
    heads: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = ()

    def pairs(self, depth: int, other: int, rule: str) -> list[tuple[int, int]]:
        """(student's layer, teacher's layer), of these depths. Raises UsageError for a layer that there is not."""
        if self.kind == "head":
            found = list(dict.fromkeys((own[0], its[0]) for own, its in self.heads))
        elif self.kind == "block":
            ruled = dict(by_rule(rule, depth, other))
            found = [(own, ruled.get(own, -1) if its is None else its) for own, its in self.layers]
        else:
            found = by_rule(rule, depth, other)
        for own, its in found:
            if not 0 <= own < depth:
                raise UsageError(f"--grain: the student has layers 0 to {depth - 1}, {own} was named.")
            if its == -1:
                raise UsageError(
                    f"--grain: rule {rule!r} gives layer {own} no layer of the teacher. Name it: block:{own}:0."
                )
            if not 0 <= its < other:
                raise UsageError(f"--grain: the teacher has layers 0 to {other - 1}, {its} was named.")
        return found

    def heads_of(self, own: int, other: int) -> list[tuple[int, int]]:
        """Of two layers the (student's head, teacher's head) that were named."""
        return [(mine[1], its[1]) for mine, its in self.heads if (mine[0], its[0]) == (own, other)]


def by_rule(rule: str, depth: int, other: int) -> list[tuple[int, int]]:
    """(student's layer, teacher's layer). uniform: the student's layer l, counted from 1, has the teacher's
    ceil(l * other / depth), so the last has the last (TinyBERT's rule: Jiao et al. 2020, arXiv:1909.10351)."""
    if rule == "uniform":
        return [(layer, -(-(layer + 1) * other // depth) - 1) for layer in range(depth)]
    count = min(depth, other)
    ahead = (depth - count, other - count) if rule == "last" else (0, 0)
    return [(ahead[0] + layer, ahead[1] + layer) for layer in range(count)]


def parse(text: str) -> Grain:
    """`encoder`, `block:0,3`, `block:0:1,3:7`, `head:0.1:2.3,1.0:3.1`. Raises UsageError."""
    kind, _, rest = text.partition(":")
    if kind not in GRAINS or (kind == "encoder") != (text == kind):
        raise UsageError(f"--grain {text}: {EXPECTED}.")
    try:
        if kind == "head":
            named = [part.split(":") for part in rest.split(",")]
            heads = tuple((_head(own), _head(other)) for own, other in named)
            if len({own for own, _ in heads}) < len(heads):
                raise UsageError(f"--grain {text}: a head of the student stands in two pairs.")
            return Grain(kind, heads=heads)
        if kind == "block":
            layers = tuple(_layers(part) for part in rest.split(","))
            if len({own for own, _ in layers}) < len(layers):
                raise UsageError(f"--grain {text}: a layer of the student stands twice.")
            return Grain(kind, layers=layers)
    except ValueError:
        raise UsageError(f"--grain {text}: {EXPECTED}.") from None
    return Grain(kind)


def _layers(part: str) -> tuple[int, int | None]:
    own, colon, other = part.partition(":")
    return _number(own), _number(other) if colon else None


def _head(part: str) -> tuple[int, int]:
    """`2.3` or `L2H3`."""
    layer, _, head = part.strip().upper().removeprefix("L").replace("H", ".").partition(".")
    return _number(layer), _number(head)


def _number(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(text)
    return int(text)
