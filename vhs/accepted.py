"""What functions of Python accept where the command line has names and paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vhs.errors import UsageError
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet

Models = Loaded | str | Path | Sequence[Loaded | str | Path]
Data = ShardSet | str | Path | None
Names = str | Sequence[str]


def models(given: Models) -> list[str | Loaded]:
    """References as text, and loaded models. Raises UsageError for anything else."""
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    for model in listed:
        check_kind(model, (Loaded, str, Path), "a model is a reference, or what load_model and train give")
    return [model if isinstance(model, Loaded) else str(model) for model in listed]


def data(given: Data) -> Path | ShardSet | None:
    """A folder or a shard set. Raises UsageError for anything else."""
    if given is not None:
        check_kind(given, (ShardSet, str, Path), "data is the folder of a shard set, or what open_shards gives")
    return Path(given) if isinstance(given, str) else given


def check_kind(value: object, kinds: tuple[type, ...], expected: str) -> None:
    """Raises UsageError for a value of another kind."""
    if not isinstance(value, kinds):
        raise UsageError(f"{expected}; this is a {type(value).__module__}.{type(value).__name__}.")


def path(given: str | Path | None) -> Path | None:
    """A path, where one is given."""
    return None if given is None else Path(given)


def names(given: Names) -> list[str]:
    """One name or several, as a list."""
    return [given] if isinstance(given, str) else list(given)
