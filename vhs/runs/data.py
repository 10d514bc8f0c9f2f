"""Which shard set a model is measured on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vhs.errors import InputError, UnreadableError
from vhs.formats import places, shards, transfers
from vhs.formats.places import Place, Remote
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet

VARIABLE = "VHS_SHARDS"
WORDS = {"train": "training", "val": "validation"}
OPTION = {"train": "--fill-data", "val": "--data"}


def resolve(
    loaded: list[Loaded], data: Place | ShardSet | None, warn: Callable[[str], None], split: str = "val"
) -> ShardSet:  # fmt: skip
    """The data named with --data, or the split (validation) the first checkpoint records.

    The recorded split is searched in $VHS_SHARDS, at the recorded path beside the checkpoint, and in
    ./shards. A set of that name with another content warns. Raises InputError saying where was looked.
    """
    if isinstance(data, ShardSet):
        return data
    if data is not None:
        return shards.pick(data, lambda manifest: manifest.split == split, WORDS[split])
    wanted, base = _recorded_split(loaded, split)
    if wanted is None:
        raise InputError(
            f"{loaded[0].model.name}: records no {WORDS[split]} split. Name a shard set with {OPTION[split]}."
        )
    looked = _places(wanted, base)
    found = [item for place in looked for item in shards.find_sets(place) if _is(item, wanted)]
    exact = [item for item in found if item.manifest.hash == wanted["hash"]]
    if exact:
        return exact[0]
    if found:
        warn(f"{found[0].folder}: is not the {WORDS[split]} split the checkpoint records (another content hash)")
        return found[0]
    where = ", ".join(str(place) for place in looked)
    raise InputError(
        f"{WORDS[split]} split {wanted['name']}: not found in {where}{_why(looked)}. Name it with {OPTION[split]}."
    )


def record(data: ShardSet, checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint records of a shard set."""
    folder = data.folder
    path = str(folder) if isinstance(folder, Remote) else os.path.relpath(folder.resolve(), checkpoint.resolve().parent)
    return {"name": data.manifest.name, "split": data.manifest.split, "hash": data.manifest.hash, "path": path}


def _recorded_split(loaded: list[Loaded], split: str) -> tuple[dict[str, Any] | None, Path | None]:
    for item in loaded:
        if item.info is not None and split in item.info.data:
            return item.info.data[split], item.path.resolve().parent if item.path else None
    return None, None


def _places(wanted: dict[str, Any], base: Path | None) -> list[Place]:
    named = [places.parse(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    recorded = [places.join(base, str(wanted.get("path", ".")))] if base else []
    return [*named, *recorded, Path("shards")]


def _why(looked: Sequence[Place]) -> str:
    """What a server said of the set that should be there, in parentheses; nothing for folders."""
    for place in looked:
        if isinstance(place, Remote):
            try:
                transfers.size_of(place / shards.MANIFEST)
            except UnreadableError as error:
                return f" ({str(error).rstrip('.')})"
    return ""


def _is(item: ShardSet, wanted: dict[str, Any]) -> bool:
    return item.manifest.name == wanted.get("name") and item.manifest.split == wanted.get("split", "val")
