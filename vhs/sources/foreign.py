"""Tars that others wrote, by WebDataset's rules: which of them there are, and what sets they make.

`imagenet1k-train-{0000..1023}.tar`, a folder of tars, or a URL of such names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vhs.errors import InputError
from vhs.formats import places
from vhs.formats.places import Place, Remote
from vhs.formats.shards import MANIFEST
from vhs.sources.folders import SPLITS

SUFFIX = ".tar"
MOST = 100_000
"""Names that braces may stand for."""
WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class TarSet:
    """The tars of one split, in order. name: of the data set."""

    name: str
    split: str
    tars: tuple[Place, ...]


def is_named(source: str) -> bool:
    """Whether a source names tars, or URLs."""
    return isinstance(places.parse(source), Remote) or source.rstrip("/").endswith(SUFFIX)


def is_folder(folder: Path) -> bool:
    """Whether a folder holds tars, no folders, and no set of vhs."""
    if (folder / MANIFEST).exists() or not any(folder.glob(f"*{SUFFIX}")):
        return False
    return not any(path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))


def sets(source: str) -> list[TarSet]:
    """The sets of a source, by split. Raises InputError for names without a tar behind them."""
    tars = _tars(source)
    found: dict[str, list[Place]] = {}
    for tar in tars:
        found.setdefault(_split(tar.name), []).append(tar)
    if len(found) > 1 and "" in found:
        odd = found[""][0]
        raise InputError(
            f"{odd}: the names of others tell their split, this one's does not. Name them one split at a time."
        )
    return [TarSet(_name(tars), split or "val", tuple(of_split)) for split, of_split in found.items()]


def _tars(source: str) -> Sequence[Place]:
    place = places.parse(source)
    if isinstance(place, Path) and place.is_dir():
        return sorted(place.glob(f"*{SUFFIX}"))
    if isinstance(place, Path) and place.exists():
        return [place]
    named = [places.parse(name) for name in _expanded(source)]
    if not all(name.name.endswith(SUFFIX) for name in named):
        raise InputError(f"{places.redacted(source)}: expected names of tars, such as train-{{0000..0099}}.tar.")
    lacking = next((name for name in named if isinstance(name, Path) and not name.is_file()), None)
    if lacking is not None:
        raise InputError(f"{lacking}: is not there, one of {len(named)} tars that {source} names.")
    return named


def _expanded(source: str) -> list[str]:
    from itertools import islice

    import braceexpand

    try:
        names = list(islice(braceexpand.braceexpand(source), MOST + 1))
    except ValueError as error:
        raise InputError(f"{source}: its braces do not match. Expected such as train-{{0000..0099}}.tar.") from error
    if len(names) > MOST:
        raise InputError(f"{source}: stands for more than {MOST} names.")
    return names


def _split(name: str) -> str:
    """train, val or test, where a word of the name says so."""
    words = [SPLITS[word.lower()] for word in WORD.findall(name.removesuffix(SUFFIX)) if word.lower() in SPLITS]
    return words[-1] if words else ""


def _name(tars: Sequence[Place]) -> str:
    """What stands before split and number: `imagenet1k` of imagenet1k-train-0000.tar; else the folder's name."""
    stem = re.sub(r"[-_.]*\d*$", "", tars[0].name.removesuffix(SUFFIX))
    words = re.split(r"[-_.]", stem)
    kept = [word for word in words if word.lower() not in SPLITS]
    return "-".join(kept).strip("-") or tars[0].parent.name or "tars"
