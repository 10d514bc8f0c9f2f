"""The seam itself, for people who want to run a network with their own hands on it.

Letters: B images, C channels, H heads (or height, of images), N images of a bank.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from vhs.errors import UsageError
from vhs.grid import named_sets
from vhs.measures.fills import Bank, projection_inputs
from vhs.models.engine import Fill, zero
from vhs.models.model import Model
from vhs.models.removal import Removal


@contextmanager
def without_heads(
    model: Model, heads: str, *, fill: str = "zero", images_NCHW: Tensor | None = None
) -> Iterator[nn.Module]:  # fmt: skip
    """Inside the block the heads `L3H1,L5H0` are filled in every pass of the network, which it gives.

    fill: zero, mean or mean-flat; images_NCHW: uint8, over which the mean is. Raises UsageError for another fill,
    MismatchError for a head that there is not.
    """
    units = named_sets([heads])
    removal = Removal(model.net, model.engine, units)
    _sham, unit = removal.units
    with removal.without(unit, _fill(model, fill, images_NCHW)):
        yield model.net


def head_outputs(model: Model, images_BCHW: Tensor) -> list[Tensor]:
    """For each layer [B, …, H, features]: what the projection reads, by head.

    images_BCHW: uint8 at the data's geometry.
    """
    received = projection_inputs(model, images_BCHW.to(model.device))
    by_head = [place.by_head(values) for place, values in zip(model.engine.seams, received, strict=True)]
    return [values.unflatten(0, (len(images_BCHW), -1)).squeeze(1) for values in by_head]


def _fill(model: Model, kind: str, images_NCHW: Tensor | None) -> Fill:
    if kind == "zero":
        return zero
    if kind not in ("mean", "mean-flat"):
        raise UsageError(f"--fill {kind}: expected zero, mean or mean-flat; the others depend on what is scored.")
    if images_NCHW is None:
        raise UsageError(f"--fill {kind}: needs images, over which the mean is.")
    return Bank(model, [images_NCHW.to(model.device)]).mean(flat=kind == "mean-flat")
