"""What the shell offers for an option or argument that is being typed. Imports nothing that takes time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

Completer = Callable[[str], list[str]]
"""From what is typed so far to what it could become."""

TABLES = (".csv", ".parquet", ".jsonl")
MODELS = (".safetensors", ".pth", ".pt")
PART = ".part"
"""What the printed scripts call parts; any name will do."""


def words(names: Sequence[str]) -> Completer:
    """One of these."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def several(names: Sequence[str]) -> Completer:
    """Several of these, joined by commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        taken = before.split(",")
        return [before + comma + name for name in names if name.startswith(last) and name not in taken]

    return complete


def files(suffixes: Sequence[str], names: Sequence[str] = ()) -> Completer:
    """Files with these suffixes and folders; or one of `names`."""

    def complete(incomplete: str) -> list[str]:
        folder = Path(incomplete).parent if not incomplete.endswith("/") else Path(incomplete)
        found = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            shown = incomplete[: incomplete.rfind("/") + 1] + path.name
            if shown.startswith(incomplete) and (path.is_dir() or path.suffix in suffixes):
                found.append(shown + "/" * path.is_dir())
        return [name for name in names if name.startswith(incomplete)] + found

    return complete


def shifts(incomplete: str) -> list[str]:
    """Families, categories, corruptions and folders of shard sets."""
    from vhs.shifts.names import EVERY_NAME, FAMILIES, IMAGENET_C

    return files((), ["clean", "clean_own", *FAMILIES, *IMAGENET_C, *EVERY_NAME])(incomplete)


def kinds(incomplete: str) -> list[str]:
    """Kinds of figures of every table."""
    from vhs.figures.gallery import FIGURES

    names = dict.fromkeys(name for kinds in FIGURES.values() for name in kinds)
    return words([*names, "contact", "card"])(incomplete)


def metrics(incomplete: str) -> list[str]:
    """Metrics of every figure."""
    from vhs.figures.gallery import FIGURES

    found = dict.fromkeys(name for kinds in FIGURES.values() for _, metrics in kinds.values() for name in metrics)
    return words(list(found))(incomplete)
