"""What `shards.json` says of a shard set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, NamedTuple

from vhs.errors import InputError
from vhs.formats.atomic import sha256

FORMAT = 1
LATER: dict[str, Any] = {"values": {}, "labels": 1, "members": {}}
"""Keys that came later, and what stands for their absence."""


class TarEntry(NamedTuple):
    """One tar of a set, as the manifest describes it."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `shards.json` says of a shard set.

    channels: 1 or 3. height, width: of every image, or None where sizes differ. mean, std: per
    channel, on the scale 0 to 1. groups: attributes of the samples; values: the values of each.
    base: the name and hash of the set this one is a shifted version of.
    labels: how many right labels a sample has at most; members: class -> the classes of a model that it stands for.
    """

    name: str
    split: str
    task: str = "classification"
    classes: tuple[str, ...]
    samples: int
    tars: tuple[TarEntry, ...]
    channels: int
    height: int | None
    width: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    groups: tuple[str, ...] = ()
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    base: dict[str, str] | None = None
    labels: int = 1
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    format: int = FORMAT
    extra: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        data = asdict(self) | {"tars": [entry._asdict() for entry in self.tars]}
        for name, absent in LATER.items():
            if data[name] == absent:
                del data[name]  # sets without keep the hash they had before there were any
        return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()

    @property
    def tars_at(self) -> str | None:
        """Where its tars lie, if others wrote them: a folder, relative to the manifest's, or a URL; None: beside it."""
        return self.extra.get("tars_at")

    @property
    def regression(self) -> bool:
        """Whether the samples have numbers to predict instead of a class."""
        return self.task == "regression"

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a model of this set gives numbers for: targets or classes."""
        return self.targets if self.regression else self.classes

    @cached_property
    def hash(self) -> str:
        """16 hex digits that stand for the whole content, tars included."""
        return sha256(self.to_bytes())[:16]

    @classmethod
    def from_bytes(cls, data: bytes, where: object) -> Manifest:
        """Raises InputError when this is no manifest of this format."""
        try:
            raw = json.loads(data)
            if raw.get("format") != FORMAT:
                raise InputError(f"{where}: format {raw.get('format')!r}, this vhs reads {FORMAT}.")
            known = {item.name for item in fields(cls)}
            values = {key: _frozen(value) for key, value in raw.items() if key in known}
            for name in ("values", "members"):
                values[name] = {key: tuple(told) for key, told in raw.get(name, {}).items()}
            values["tars"] = tuple(TarEntry(**entry) for entry in raw["tars"])
            return cls(**values)
        except InputError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"{where}: is not a shard manifest: {error}. `vhs shard` writes one.") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
