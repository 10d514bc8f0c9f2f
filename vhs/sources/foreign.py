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
from vhs.formats.shard_journal import JOURNAL
from vhs.formats.shards import MANIFEST, ShardSet
from vhs.sources.compressed import stem
from vhs.sources.folders import SPLITS

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
    return isinstance(places.parse(source), Remote) or stem(source.rstrip("/")) is not None


def is_folder(folder: Path) -> bool:
    """Whether a folder holds tars that others wrote, and no folders but those of sets made of them; or nothing but such
    folders, called after splits."""
    return _holds_tars_alone(folder) or bool(_split_folders(folder))


def holds_tars(source: str) -> bool:
    """Whether a source names tars, or is a folder with some: what can be described where it lies."""
    place = places.parse(source)
    return is_named(source) or (
        isinstance(place, Path) and place.is_dir() and bool(_tars_in(place) or _split_folders(place))
    )


def _tars_in(folder: Path) -> list[Path]:
    """In the order of their names."""
    return sorted(path for path in folder.iterdir() if stem(path.name) is not None)


def _holds_tars_alone(folder: Path) -> bool:
    return bool(_tars_in(folder)) and not _is_ours(folder) and all(map(_is_made, _below(folder)))


def _split_folders(folder: Path) -> list[Path]:
    """The folders in it, where all are called train, val or test and hold tars of others alone."""
    found = [path for path in _below(folder) if not _is_made(path)]
    fine = all(path.name.lower() in SPLITS and _holds_tars_alone(path) for path in found)
    return found if fine and not _tars_in(folder) else []


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_ours(folder: Path) -> bool:
    """Whether the tars of a folder are a set of vhs, whole or begun."""
    if (folder / JOURNAL).exists():
        return True
    return (folder / MANIFEST).exists() and ShardSet.open(folder).manifest.tars_at is None


def _is_made(folder: Path) -> bool:
    """Whether a folder holds what `vhs shard` writes, itself or one level below."""
    return any(folder.glob("shards.*")) or any(folder.glob("*/shards.*"))


def sets(source: str) -> list[TarSet]:
    """The sets of a source, by split. Raises InputError for names without a tar behind them."""
    tars = _tars(source)
    found: dict[str, list[Place]] = {}
    for tar in tars:
        found.setdefault(_split(tar), []).append(tar)
    if len(found) > 1 and "" in found:
        odd = found[""][0]
        raise InputError(
            f"{odd}: the names of others tell their split, this one's does not. Name them one split at a time."
        )
    return [TarSet(_name(tars), split or "val", tuple(of_split)) for split, of_split in found.items()]


def _tars(source: str) -> Sequence[Place]:
    place = places.parse(source)
    if isinstance(place, Path) and place.is_dir():
        return _tars_in(place) or [tar for folder in _split_folders(place) for tar in _tars_in(folder)]
    if isinstance(place, Path) and place.exists():
        return [place]
    named = [places.parse(name) for name in _expanded(source)]
    if not all(stem(name.name) for name in named):
        raise InputError(f"{places.redacted(source)}: expected names of tars, such as train-{{0000..0099}}.tar.")
    lacking = next((name for name in named if isinstance(name, Path) and not name.is_file()), None)
    if lacking is not None:
        raise InputError(f"{lacking}: is not there, one of {len(named)} tars that {places.redacted(source)} names.")
    return named


def _expanded(source: str) -> list[str]:
    from itertools import islice

    import braceexpand

    try:
        names = list(islice(braceexpand.braceexpand(source), MOST + 1))
    except ValueError as error:
        raise InputError(
            f"{places.redacted(source)}: its braces do not match. Expected such as train-{{0000..0099}}.tar."
        ) from error
    if len(names) > MOST:
        raise InputError(f"{places.redacted(source)}: stands for more than {MOST} names.")
    return names


def _split(tar: Place) -> str:
    """train, val or test, where a word of the name says so, or else the folder's name."""
    words = [SPLITS[word.lower()] for word in WORD.findall(stem(tar.name) or "") if word.lower() in SPLITS]
    return words[-1] if words else SPLITS.get(tar.parent.name.lower(), "")


def _name(tars: Sequence[Place]) -> str:
    """What stands before split and number: `imagenet1k` of imagenet1k-train-0000.tar; else the name of the folder, or
    of the one around it, if that is called after a split."""
    plain = re.sub(r"[-_.]*\d*$", "", stem(tars[0].name) or "")
    kept = [word for word in re.split(r"[-_.]", plain) if word.lower() not in SPLITS]
    folder = tars[0].parent
    around = folder.parent if folder.name.lower() in SPLITS else folder
    return "-".join(kept).strip("-") or around.name or "tars"
