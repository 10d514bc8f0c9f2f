"""What model references name, as far as can be said without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os.path import exists, isfile
from pathlib import Path

from vhs.errors import InputError, UsageError
from vhs.formats import checkpoints
from vhs.formats.stdin import read_stdin

PREFIXES = ("timm:", "hf:")


def resolve(references: Iterable[str]) -> list[str]:
    """All references, lists replaced by what they list. Raises UsageError or InputError for what cannot be read."""
    names = list(expand(references))
    if names.count("-") > 1:
        raise UsageError("-: stdin can be read once only. Name the other models.")
    for name in names:
        check(name)
    return names


def expand(references: Iterable[str]) -> Iterator[str]:
    """Replace `@FILE` and `@-` by the references they list, one a line."""
    for reference in references:
        if not reference.startswith("@"):
            yield reference
            continue
        yield from _list(reference[1:])


def listed(names: Iterable[str], what: str) -> list[str]:
    """The same of names of other things."""
    return [found for name in names for found in (_list(name[1:], what) if name.startswith("@") else [name])]


def _list(name: str, what: str = "models") -> list[str]:
    """The references of a list, one a line; empty lines and lines that begin with # are passed over."""
    try:
        text = (read_stdin(f"a list of {what}") if name == "-" else Path(name).read_bytes()).decode()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}. Name a file that lists {what}.") from error
    except ValueError as error:
        if not isinstance(error, UnicodeDecodeError):
            raise InputError(f"@{name!r:.80}: cannot be the name of a file.") from None
        raise InputError(f"@{name}: is no list of references but a binary file. Without @ it is a model.") from None
    found = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not found:
        raise InputError(f"@{name}: lists no {what}.")
    return found


def check(reference: str) -> None:
    """Raises InputError for a checkpoint that is not there or whose header is wrong; others `load` checks."""
    path = Path(reference)
    if reference == "-" or reference.startswith(PREFIXES) or (exists(path) and not isfile(path)):
        return
    if path.suffix == ".safetensors":
        checkpoints.read_info(path)
