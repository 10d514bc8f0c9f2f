"""What may stand in for a removed head, a row a fill; importing them costs nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FillKind:
    """One fill and what it needs.

    bank: images that are not scored; maps: their attention, too; values: other maps over each head's own values;
    twin: in words, of which image the head's output is taken; into_clean: it is put into the clean image, not into
    the shifted one.
    """

    name: str
    bank: bool = False
    maps: bool = False
    values: bool = False
    twin: str | None = None
    into_clean: bool = False


ZERO = FillKind("zero")
FILLS = {
    kind.name: kind
    for kind in (
        ZERO,
        FillKind("mean", bank=True),
        FillKind("mean-flat", bank=True),
        FillKind("resample", bank=True),
        FillKind("uniform", values=True),
        FillKind("mean-map", bank=True, maps=True, values=True),
        FillKind("donor-map", bank=True, maps=True, values=True),
        FillKind("twin", twin="the clean twin"),
        FillKind("twin-break", twin="the shifted twin, in the clean image", into_clean=True),
    )
}
"""How each is made stands under its name in measures/fills."""
