"""Forward hooks that last as long as a block of code, and hooks that keep what passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def hook_before(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Inside the block `hook` sees, or replaces, what `module` receives."""
    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def hook_after(module: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Inside the block `hook` sees, or replaces, what `module` gives."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def keep_input(kept: list[Tensor], _module: nn.Module, args: tuple[Tensor, ...]) -> None:
    """A hook that keeps what its module receives."""
    kept.append(args[0])


def keep_output(kept: list[Tensor], _module: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
    """A hook that keeps what its module gives."""
    kept.append(output)
