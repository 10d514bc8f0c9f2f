"""Under which conditions a model is measured: clean, corruptions at severities, shifted shard sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vhs.batch import Batch
from vhs.errors import UsageError
from vhs.formats.shards import MANIFEST, ShardSet

FAMILY, EXTRA = "imagenet-c", "imagenet-c-extra"
CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What happens to the images. data: the shifted shard set for a stored condition, else None."""

    shift: str
    category: str | None = None
    corruption: str | None = None
    severity: int = 0
    data: ShardSet | None = None

    @property
    def origin(self) -> str:
        return "generated" if self.corruption else "stored"

    @property
    def name(self) -> str:
        """`clean`, or `shift/corruption:severity`."""
        return f"{self.shift}/{self.corruption}:{self.severity}" if self.corruption else self.shift

    def apply(self, batch: Batch, seed: int) -> Batch:
        """The batch under this condition."""
        if self.corruption is None:
            return batch
        from vhs.shifts.corruption import corrupt

        images = corrupt(batch.images_BCHW, batch.keys_B, self.corruption, self.severity, seed)
        return batch.with_images(images)


def parse(shifts: Sequence[str]) -> list[Condition]:
    """The conditions `shifts` name, clean first, each once, in a fixed order.

    A shift is `clean`, `imagenet-c`, a corruption (`contrast`), one with severities (`contrast:3,5`)
    or the path of a shard set. Raises UsageError listing the legal names.
    """
    found = [Condition(shift=CLEAN)]
    for text in shifts:
        for condition in _parse_one(text):
            twin = next((known for known in found if known.name == condition.name), None)
            if twin is None:
                found.append(condition)
            elif _hash(twin) != _hash(condition):
                raise UsageError(
                    f"--shift {text}: another condition is called {condition.name} too, and a table could not tell "
                    f"them apart. Shard it from a folder of another name."
                )
    return found


def _hash(condition: Condition) -> str | None:
    return condition.data.manifest.hash if condition.data else None


def unavailable(shifts: Sequence[str]) -> list[str]:
    """Members of the families among `shifts` that this version cannot make."""
    from vhs.shifts.corruption import CATEGORY, CORRUPTIONS

    return [name for name in CATEGORY if name not in CORRUPTIONS] if FAMILY in shifts else []


def _parse_one(text: str) -> list[Condition]:
    from vhs.shifts.corruption import CATEGORY, CORRUPTIONS, SEVERITIES

    if text == CLEAN:
        return []
    if text == FAMILY:
        names = [name for name in CATEGORY if name in CORRUPTIONS]
        return [_corruption(FAMILY, name, severity) for name in names for severity in SEVERITIES]
    name, _, wanted = text.partition(":")
    if name in CORRUPTIONS:
        severities = _severities(text, wanted) if wanted else SEVERITIES
        return [_corruption(FAMILY if name in CATEGORY else EXTRA, name, severity) for severity in severities]
    if (Path(text) / MANIFEST).exists():
        data = ShardSet.open(Path(text))
        return [Condition(shift=data.manifest.name, data=data)]
    if name == FAMILY:
        raise UsageError(f"--shift {text}: a family is taken whole; single severities are asked as contrast:3,5.")
    if name in CATEGORY:
        raise UsageError(f"--shift {text}: {name} is not there yet; there are {', '.join(CORRUPTIONS)}.")
    legal = ", ".join([CLEAN, FAMILY, *CORRUPTIONS])
    raise UsageError(f"--shift {text}: is no shift ({legal}) and no shard set.")


def _corruption(shift: str, name: str, severity: int) -> Condition:
    from vhs.shifts.corruption import CATEGORY

    return Condition(shift=shift, category=CATEGORY.get(name), corruption=name, severity=severity)


def _severities(text: str, wanted: str) -> list[int]:
    values = wanted.split(",")
    if not all(value in ("1", "2", "3", "4", "5") for value in values):
        raise UsageError(f"--shift {text}: severities are 1 to 5, such as {text.partition(':')[0]}:3,5.")
    return sorted({int(value) for value in values})
