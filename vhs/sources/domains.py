"""DOMAIN/CLASS/IMAGE: PACS, Office-Home, DomainNet and their kind; the domain becomes an attribute."""

from __future__ import annotations

from pathlib import Path

from vhs.errors import InputError
from vhs.formats.images import SUFFIXES
from vhs.formats.split import Split
from vhs.sources.folders import has_splits, split_of_paths


def is_folder(folder: Path) -> bool:
    """Whether there are two levels of folders, and the lower ones share names across the upper ones, no splits."""
    if has_splits(folder):
        return False
    below = [set(_folders(domain)) for domain in map(folder.joinpath, _folders(folder))]
    return len(below) > 1 and all(below) and bool(set.intersection(*below))


def splits(folder: Path) -> list[Split]:
    """One split, `val`, with the attribute `domain`; classes are those of all domains, by name."""
    domains = _folders(folder)
    classes = sorted({name for domain in domains for name in _folders(folder / domain)})
    if not classes:
        raise InputError(f"{folder}: expected DOMAIN/CLASS/IMAGE, found no folders below {', '.join(domains[:3])}.")
    relative, labels, found = [], [], []
    for domain in domains:
        for label, name in enumerate(classes):
            place = folder / domain / name
            images = sorted(path for path in place.rglob("*") if path.suffix[1:].lower() in SUFFIXES)
            relative += [path.relative_to(folder) for path in images]
            labels += [label] * len(images)
            found += [domain] * len(images)
    if not relative:
        raise InputError(f"{folder}: holds no images in DOMAIN/CLASS folders.")
    return [
        split_of_paths(
            folder, relative, labels, tuple(classes), name=folder.resolve().name, split="val",
            attributes={"domain": found},
        )
    ]  # fmt: skip


def _folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
