"""JSON to frozen dataclasses and named tuples by the types of their fields, and back; what fits no type is refused."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints


def plain(value: Any) -> Any:
    """What JSON holds of a value of dataclasses, named tuples, tuples and plain values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value


def build(kind: Any, raw: Any) -> Any:
    """The value of a type that `plain` gave `raw` of. Raises ValueError or KeyError for anything else."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        return kind(**{item.name: build(hints[item.name], _checked(raw, dict)[item.name]) for item in fields(kind)})
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = _hints(kind)
        values = zip(kind._fields, _checked(raw, list), strict=True)
        return kind(*(build(hints[name], value) for name, value in values))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if raw is None else build(next(item for item in arguments if item is not type(None)), raw)
    if origin is tuple:
        return _tuple(arguments, _checked(raw, list))
    if origin is dict:
        return {build(arguments[0], key): build(arguments[1], item) for key, item in _checked(raw, dict).items()}
    return raw if kind is Any else _checked(float(raw) if kind is float and type(raw) is int else raw, kind)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _tuple(arguments: tuple[Any, ...], raw: list[Any]) -> tuple[Any, ...]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(build(arguments[0], item) for item in raw)
    return tuple(build(kind, item) for kind, item in zip(arguments, raw, strict=True))


def _checked(raw: Any, kind: type) -> Any:
    if type(raw) is not kind:
        raise ValueError(f"{raw!r:.40} is no {kind.__name__}")
    return raw
