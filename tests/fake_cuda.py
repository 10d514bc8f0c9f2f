"""CUDA without a GPU: fake tensors that say they lie on one, and a watch for whatever makes the host wait for it.

torch's fake tensors have a device, a shape and a type, and no values. Their mode raises where tensors of two devices
meet and where a value is asked for. What it lets pass, though the host of a real GPU would wait, `Watch` finds: copies to
the host, copies from it that are not `non_blocking`, host tensors or lists as an index, and a solver's check of its
answer. Kernels, memory and bits are not to be seen this way.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from vhs.models import model as model_module

VHS = Path(model_module.__file__).resolve().parent.parent
READ, TO_HOST, TO_DEVICE = "reads a value", "copies to the host", "copies to the device and waits"
DEVICE = torch.device("cuda", 0)
aten = torch.ops.aten
ASKING = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
CHECKED = (aten._linalg_check_errors.default,)
INDEXED = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
READERS = (
    Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__bool__, Tensor.__float__, Tensor.__int__,
    Tensor.__index__,
)  # fmt: skip


class HostWaits(AssertionError):
    """The host would wait for the GPU in a place that is not listed."""


class Wait(NamedTuple):
    """place: file and function of vhs, the innermost; kind: READ, TO_HOST or TO_DEVICE."""

    place: str
    kind: str


class Watch(TorchDispatchMode):
    """Raises HostWaits for what is not in `allowed`; answers what is with zeros. seen: what was."""

    def __init__(self, allowed: Collection[Wait], *, fakes: bool) -> None:
        """fakes: whether the device is one of fake tensors, or the CPU in its place."""
        super().__init__()
        self.allowed, self.fakes = allowed, fakes
        self.seen: set[Wait] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        if self.fakes and on_host(args, kwargs):
            with _disable_current_modes():  # host tensors stay real, so that host code does what it does
                return func(*args, **kwargs)
        kind = None if func.namespace == "prim" else kind_of(func, args, kwargs)
        if kind is None:
            return func(*args, **kwargs)
        self.note(kind, func)
        return answer(func, args, kwargs) if kind != TO_DEVICE else func(*args, **kwargs)

    def note(self, kind: str, func: object) -> None:
        wait = Wait(place(), kind)
        if wait not in self.allowed:
            raise HostWaits(f"{wait.place} {kind} ({func})")
        self.seen.add(wait)


class Reads(TorchFunctionMode):
    """What `Watch` cannot see of tensors that lie on the CPU for want of a GPU: their values asked for in Python."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in READERS:
            self.watch.note(READ, func)
        return func(*args, **(kwargs or {}))


def on_host(args: tuple, kwargs: dict) -> bool:
    """Whether all that goes in lies on the host, and what comes out will."""
    given = [part for whole in args for part in (whole if isinstance(whole, (list, tuple)) else (whole,))]
    to = kwargs.get("device")
    return (to is None or torch.device(to).type == "cpu") and not any(isinstance(part, FakeTensor) for part in given)


def kind_of(func: Any, args: tuple, kwargs: dict) -> str | None:
    """How this operation makes the host wait; None if it does not."""
    if func.overloadpacket in INDEXED:
        return _indexed(args[0], [part for part in args[1] if isinstance(part, Tensor)])
    if func in CHECKED or any(tag in func.tags for tag in ASKING):
        return READ
    if func is aten._to_copy.default:
        to = torch.device(kwargs.get("device") or args[0].device)
        return _copied(args[0].device, to, non_blocking=kwargs.get("non_blocking", False))
    if func is aten.copy_.default:
        return _copied(args[1].device, args[0].device, non_blocking=len(args) > 2 and args[2])
    return None


def _indexed(whole: Tensor, places: list[Tensor]) -> str | None:
    """How many a mask takes must be known on the host; numbers that lie there are brought to the device."""
    if any(part.dtype in (torch.bool, torch.uint8) for part in places):
        return READ
    return TO_DEVICE if whole.device.type == "cuda" and any(part.device.type == "cpu" for part in places) else None


def _copied(source: torch.device, to: torch.device, *, non_blocking: bool) -> str | None:
    """A copy to the host waits also where it is asked not to, or its values are not there yet when they are read."""
    if source.type == "cuda" and to.type == "cpu":
        return TO_HOST
    return TO_DEVICE if source.type == "cpu" and to.type == "cuda" and not non_blocking else None


def answer(func: Any, args: tuple, kwargs: dict) -> Any:
    """What the host gets: real zeros for fake values, so that it can go on; on the CPU what is there."""
    given = args[1] if func is aten.copy_.default else args[0]
    if given.device.type == "cpu":
        return func(*args, **kwargs)
    if func in CHECKED:
        return None
    if func is aten._local_scalar_dense.default:
        return 0.0 if given.is_floating_point() else 0
    if func in (aten.equal.default, aten.allclose.default):
        return True
    assert func is aten._to_copy.default, f"{func}: no answer is known"
    with _disable_current_modes():
        return torch.zeros(given.shape, dtype=kwargs.get("dtype") or given.dtype)


def place() -> str:
    """Which function of vhs is running, or of the tests."""
    frame = sys._getframe(1)
    outside = ""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(VHS):
            return f"{path.relative_to(VHS).as_posix()}:{_function(frame)}"
        outside = outside or (f"{path.name}:{_function(frame)}" if path.name.startswith("test_") else "")
        frame = frame.f_back  # type: ignore[assignment]
    return outside


def _function(frame: FrameType) -> str:
    """Its name, of a comprehension or an inner function that of the one around it."""
    return frame.f_code.co_qualname.partition(".<locals>")[0]


MODE = FakeTensorMode(allow_non_fake_inputs=True)
"""One for all tests: fake tensors of two modes do not mix. Host tensors come as they are, and become its own."""


@contextmanager
def on_cuda(allowed: Collection[Wait] = ()) -> Iterator[Watch]:
    """Inside, new tensors are fake, a GPU seems to be there, and waits that are not allowed raise.

    Gradients are off by no_grad: fake tensors made in inference mode could not be used outside it.
    """
    watch = Watch(allowed, fakes=True)
    with (
        patch.object(torch, "inference_mode", _no_grad),
        patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False),
        patch.object(torch.cuda, "is_bf16_supported", lambda: True),
        MODE,
        watch,
    ):
        yield watch


def _no_grad(mode: bool = True) -> AbstractContextManager[None]:
    """In the place of inference mode, which torch itself also turns off where it makes fake tensors."""
    return torch.no_grad() if mode else nullcontext()


@contextmanager
def on_cpu(allowed: Collection[Wait] = ()) -> Iterator[Watch]:
    """Inside, real tensors on the CPU stand for a GPU's where fake ones do not do; waits that are not allowed raise."""
    watch = Watch(allowed, fakes=False)
    with watch, Reads(watch):
        yield watch


def moved(net: nn.Module) -> nn.Module:
    """The network with fake parameters and buffers on the device, in place."""
    for module in net.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(fake(value), requires_grad=value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = fake(value)
    return net


def fake(value: Tensor) -> Tensor:
    """A fake tensor on the device, of the same shape, strides and type."""
    with MODE:
        return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=DEVICE)


def forget() -> None:
    """Drop tables that were kept: of the mode they would be of no use outside it, and the other way round."""
    for name, module in list(sys.modules.items()):
        if name.startswith("vhs.shifts.") or module is model_module:
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
