"""Find the head seams of a network that was not written with us in mind, and check them.

A candidate is a module that says how many heads it has and owns a projection. What the projection
receives must hold the heads side by side, alone or before something else (an MLP that shares the projection). That is
not believed but tried: while one attention module runs, its weights of attention (the result of its softmax) or its
values are set to zero for one head; what arrives at the projection must then change in that head's slice and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vhs.models.hooks import hook_before

HEADS = ("num_heads", "nb_head", "num_attention_heads", "heads")
PROJECTIONS = (
    "proj", "out_proj", "o_proj", "project", "to_out", "proj_out", "output_proj", "attn_out_proj", "output",
    "upsampling",
)  # fmt: skip
NORMS = ("norm", "inner_attn_ln", "sub_norm")
"""A norm between attention and projection: its statistics are frozen, so the check is made before it."""
CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
ATTENTION = (F.scaled_dot_product_attention, torch._C._nn.scaled_dot_product_attention)
AXES = (-3, 1, 2, 0)
"""Where the heads may be in what softmax gives or in the values, tried in turn."""
SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax, nn.functional.softmax)


@dataclass(frozen=True)
class Seam:
    """One attention module: its path, its heads, and the module whose input holds them side by side.

    channels_last: whether heads lie in the last dimension of that input, or in the second. interleaved: whether
    a head's features lie `heads` apart in it, not side by side. features: how many of the first features are the
    heads', where others follow (an MLP's); None for all.
    """

    path: str
    heads: int
    attention: nn.Module
    projection: nn.Module
    channels_last: bool
    interleaved: bool = False
    features: int | None = None

    @property
    def name(self) -> str:
        """What the attention module is called in its block; `attn` where it is the block itself."""
        last = self.path.rpartition(".")[2]
        return "attn" if last.isdecimal() else last

    @property
    def axis(self) -> int:
        """Where the features lie in what the projection receives."""
        return -1 if self.channels_last else 1

    def by_head(self, received: Tensor) -> Tensor:
        """What the projection receives as [..., H, features], whatever follows the heads left out."""
        values = received.movedim(self.axis, -1)
        values = values[..., : self.features or values.shape[-1]]
        if not self.heads:  # of a layer that lost them all
            return values.unflatten(-1, (0, getattr(self.attention, "head_dim", 1)))
        return values.unflatten(-1, (-1, self.heads)).mT if self.interleaved else values.unflatten(-1, (self.heads, -1))

    def from_heads(self, values: Tensor) -> Tensor:
        """[..., H, features] laid out as the projection receives them, without what follows the heads there."""
        return (values.mT if self.interleaved else values).flatten(-2).movedim(-1, self.axis)

    def without(self, received: Tensor, keep_VH: Tensor, fill: Tensor | None = None) -> Tensor:
        """What the projection receives [V * B, …], with the heads that keep_VH does not keep filled, in V variants.

        fill: of the shape of one variant's part or broadcast to it, whatever follows the heads there or not; None for
        zeros.
        """
        axis = received.dim() - 1 if self.channels_last else 1
        own = self.features or received.shape[axis]
        if not self.heads:
            return received
        width = own // self.heads
        mask = keep_VH.repeat(1, width) if self.interleaved else keep_VH.repeat_interleave(width, dim=1)
        mask = F.pad(mask, (0, received.shape[axis] - own), value=1.0)
        shape = [len(keep_VH), 1] + [1] * (received.dim() - 1)
        shape[axis + 1] = received.shape[axis]
        mask = mask.to(received).view(shape)
        stacked = received.unflatten(0, (len(keep_VH), -1)) * mask
        if fill is None:
            return stacked.flatten(0, 1)
        beside = received.shape[axis] - own if fill.shape[axis - received.dim()] == own else 0
        fill = F.pad(fill.movedim(axis - received.dim(), -1), (0, beside)).movedim(-1, axis - received.dim())
        return (stacked + fill * (1 - mask)).flatten(0, 1)


def candidates(net: nn.Module) -> dict[str, tuple[nn.Module, int, nn.Module]]:
    """path -> (attention module, heads, projection) of every module that looks like attention."""
    found = {}
    for path, module in net.named_modules():
        heads = next((getattr(module, name) for name in HEADS if isinstance(getattr(module, name, None), int)), None)
        child = next((getattr(module, name) for name in PROJECTIONS if _projects(getattr(module, name, None))), None)
        if heads is not None and child is not None:
            found[path] = (module, heads, child)
    return found


def _projects(module: object) -> bool:
    return isinstance(module, nn.Module) and not isinstance(module, nn.Identity)


def discover(net: nn.Module, pixels_BCHW: Tensor) -> tuple[list[Seam], str | None]:
    """The seams of `net` in the order in which they run, and why there are none (then the list is empty).

    pixels_BCHW: one or more images of the size the network takes; their values do not matter.
    """
    found = candidates(net)
    if not found:
        return [], "it has no attention modules with heads and an output projection"
    calls = _trace(net, {path: module for path, (module, _, _) in found.items()}, pixels_BCHW)
    seams = []
    for path, call in calls.items():
        module, heads, projection = found[path]
        arrived = _arriving(module, projection, call, None)
        if arrived is None:
            return [], f"{path}: its projection is not called as a module"
        placed, reason = _check(_place(path, module, heads, projection), call)
        if reason:
            return [], f"{path}: {reason}"
        seams.append(placed)
    return (seams, None) if seams else ([], "none of its attention modules runs")


Call = tuple[tuple[Any, ...], dict[str, Any]]


def _trace(net: nn.Module, modules: dict[str, nn.Module], pixels_BCHW: Tensor) -> dict[str, Call]:
    """path -> what the module was first called with, in the order of the calls."""
    calls: dict[str, Call] = {}

    def note(path: str) -> Callable[..., None]:
        return lambda _module, args, kwargs: calls.setdefault(path, (args, kwargs)) and None

    handles = [module.register_forward_pre_hook(note(path), with_kwargs=True) for path, module in modules.items()]
    try:
        with torch.inference_mode():
            net(pixels_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _place(path: str, module: nn.Module, heads: int, projection: nn.Module) -> Seam:
    """The seam with its axis: the last for linear layers, the second for convolutions."""
    first = next((part for part in projection.modules() if isinstance(part, (nn.Linear, *CONVOLUTIONS))), None)
    return Seam(path, heads, module, projection, not isinstance(first, CONVOLUTIONS))


def _check(seam: Seam, call: Call) -> tuple[Seam, str | None]:
    """The seam with the layout its heads turn out to have, or why they cannot be told apart."""
    if not seam.heads:
        return seam, None
    norms = [getattr(seam.attention, name, None) for name in NORMS]
    places = [seam.projection, *(norm for norm in norms if _is_norm(norm))]
    placed, seen = _find_layout(seam, places, call)
    if placed is None:
        extent = _extent(seam, call)
        placed = _find_layout(replace(seam, features=extent), places[:1], call)[0] if extent else None
    if placed is not None:
        return placed, None
    return seam, "its heads are mixed before the projection" if seen else "its attention could not be watched"


def _find_layout(seam: Seam, places: list[nn.Module], call: Call) -> tuple[Seam | None, bool]:
    """(the seam with heads side by side or interleaved, as one of `places` shows; whether anything was seen)."""
    seen = False
    for place in places:
        for interleaved in (False, True):
            placed = replace(seam, interleaved=interleaved)
            apart, watched = _apart(placed, place, call)
            seen |= watched
            if apart:
                return placed, True
    return None, seen


def _extent(seam: Seam, call: Call) -> int | None:
    """How many of the projection's first features silencing the last head reaches; None for all or none."""
    plain = _arriving(seam.attention, seam.projection, call, None)
    for axis in AXES if plain is not None else ():
        silenced = _Silence(seam.heads, seam.heads - 1, axis)
        without = _arriving(seam.attention, seam.projection, call, silenced)
        if silenced.worked and without is not None and without.shape == plain.shape:  # type: ignore[union-attr]
            differ = _differing((plain - without).movedim(seam.axis, 0), plain)  # type: ignore[operator, arg-type]
            reached = max((index + 1 for index, changed in enumerate(differ) if changed), default=0)
            if 0 < reached < len(differ) and reached % seam.heads == 0:
                return reached
    return None


# Why silencing tells: a head's weights of attention (or its values) set to zero make its output zero, whatever the
# module does with it afterwards. If the projection's input then differs in one slice alone, that slice is the head's.
# A module that mixes heads (talking heads, a norm over all, a convolution) changes more than one, and is refused. All
# axes are tried, because softmax and values put the head's axis in different places; the first and the last head
# suffice, since side by side and interleaved layouts differ in both.
def _apart(seam: Seam, place: nn.Module, call: Call) -> tuple[bool, bool]:
    """(whether silencing the first and the last head changes its own part at `place` alone, whether it was seen)."""
    plain = _arriving(seam.attention, place, call, None)
    seen = False
    for head in sorted({0, seam.heads - 1}):
        changes = []
        for axis in AXES if plain is not None else ():
            silenced = _Silence(seam.heads, head, axis)
            without = _arriving(seam.attention, place, call, silenced)
            if silenced.worked and without is not None:
                changes.append(_changed_heads(plain, without, seam))  # type: ignore[arg-type]
        seen |= any(changed is not None for changed in changes)
        if {head} not in changes:
            return False, seen
    return True, True


def _changed_heads(plain: Tensor, without: Tensor, seam: Seam) -> set[int] | None:
    """The heads whose features differ, and -1 for what follows them; None where the shapes do not fit the question."""
    axis = plain.dim() - 1 if seam.channels_last else 1
    own = seam.features or plain.shape[axis]
    if plain.shape != without.shape or own % seam.heads:
        return None
    apart = (plain - without).movedim(axis, 0)
    parts = apart[:own].unflatten(0, (-1, seam.heads) if seam.interleaved else (seam.heads, -1))
    differ = _differing(parts.movedim(int(seam.interleaved), 0), plain)
    return {index for index, changed in enumerate(differ) if changed} | (
        {-1} if any(_differing(apart[own:], plain)) else set()
    )


def _differing(apart: Tensor, plain: Tensor) -> list[bool]:
    """For each entry of the first dimension whether it holds a difference beyond rounding, or what is no number: a head
    whose silenced map is divided by its sum."""
    return (~(apart.abs().flatten(1).amax(1) <= 1e-5 * plain.abs().max())).tolist() if len(apart) else []


def _is_norm(module: object) -> TypeGuard[nn.Module]:
    return isinstance(module, nn.Module) and "norm" in type(module).__name__.lower()


def _arriving(attention: nn.Module, at: nn.Module, call: Call, mode: TorchFunctionMode | None) -> Tensor | None:
    """What `at` receives first while the attention module runs, under `mode`."""
    kept: list[Tensor] = []
    args, kwargs = call
    with (
        hook_before(at, lambda _m, received: kept.append(received[0].clone())),
        torch.inference_mode(),
        mode or nullcontext(),
    ):
        attention(*args, **kwargs)
    return kept[0] if kept else None


class _Silence(TorchFunctionMode):
    """Sets one head's attention to zero, along `axis` of what softmax gives or of the values.

    Where all heads share their values, of what fused attention gives.
    """

    def __init__(self, heads: int, head: int, axis: int) -> None:
        super().__init__()
        self.heads, self.head, self.axis = heads, head, axis
        self.worked = False

    def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if function in ATTENTION:
            given = [*args, *(kwargs.pop(name) for name in ("query", "key", "value") if name in kwargs)]
            values = self._silence(given[2])
            result = function(*given[:2], values, *given[3:], **kwargs)
            return self._silence(result) if values is given[2] else result
        result = function(*args, **kwargs)
        return self._silence(result) if function in SOFTMAX else result

    def _silence(self, values: Tensor) -> Tensor:
        axis = self.axis if self.axis >= 0 else values.dim() + self.axis
        if not 0 <= axis < values.dim() or values.shape[axis] != self.heads:
            return values
        self.worked = True
        keep = torch.ones(self.heads, dtype=values.dtype, device=values.device)
        keep[self.head] = 0
        return values * keep.view([-1 if index == axis else 1 for index in range(values.dim())])
