"""Under which conditions a model is measured: clean, corruptions at severities, shifted shard sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from vhs.batch import Batch
from vhs.errors import UsageError
from vhs.formats import places
from vhs.formats.places import Remote
from vhs.formats.shards import ShardSet, find_sets, is_set
from vhs.shifts.kinds import CORRUPTIONS
from vhs.shifts.names import EVERY_NAME, FAMILIES, IMAGENET_C, SEVERITIES, STORED_NAMES
from vhs.shifts.published import OTHER

if TYPE_CHECKING:
    from torch import Tensor

    from vhs.shifts.textures import Textures

CLEAN = "clean"
CLEAN_C, CLEAN_OWN = "clean_c", "clean_own"
REJPEG = 85
"""Quality at which the published ImageNet-C files are stored."""
MAX_PATCHES = 64


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What happens to the images. data: the shifted shard set for a stored condition, else None.

    rejpeg: whether images are stored as JPEG and read back, as the published files were.
    """

    shift: str
    category: str | None = None
    corruption: str | None = None
    severity: int = 0
    data: ShardSet | None = None
    rejpeg: bool = False

    @property
    def origin(self) -> str:
        if self.data is not None or self.corruption is None:
            return "stored"
        if self.corruption == "frost":
            from vhs.formats import frost
            from vhs.shifts.textures import PROCEDURAL

            return PROCEDURAL if frost.textures().origin == PROCEDURAL else "generated"
        return "generated"

    @property
    def made(self) -> bool:
        """Whether images are corrupted on the fly."""
        return self.data is None and self.corruption is not None

    @property
    def name(self) -> str:
        """`clean`, or `shift/corruption:severity`."""
        return f"{self.shift}/{self.corruption}:{self.severity}" if self.corruption else self.shift

    def apply(self, batch: Batch, seed: int) -> Batch:
        """The batch under this condition."""
        if self.data is not None:
            return batch
        if self.shift in (CLEAN, CLEAN_OWN):
            return batch.with_images(batch.images_BCHW)
        shifted = batch.with_images(self._shifted(batch.images_BCHW, batch.keys_B, seed))
        return shifted if batch.bare_BCHW is None else replace(
            shifted, bare_BCHW=self._shifted(batch.bare_BCHW, batch.keys_B, seed)
        )  # fmt: skip

    def _shifted(self, images: Tensor, keys_B: Tensor, seed: int) -> Tensor:
        from vhs.shifts.corruption import corrupt
        from vhs.shifts.digital import jpeg_compression

        if self.corruption is not None:
            images = corrupt(images, keys_B, self.corruption, self.severity, seed, textures=self._textures())
        return jpeg_compression(images, REJPEG) if self.rejpeg else images

    def _textures(self) -> Textures | None:
        from vhs.formats import frost

        return frost.textures() if self.corruption == "frost" else None


def parse(shifts: Sequence[str], *, rejpeg: bool = False) -> list[Condition]:
    """The conditions `shifts` name, clean first, each once, in a fixed order.

    A shift is `clean`, `clean_own` (at each model's own transform), a family (`imagenet-c`, `imagenet-c-bar`), a
    category (`noise`), a corruption (`contrast`), each of these with severities (`imagenet-c:3`, `contrast:3,5`;
    `patch_shuffle:4` cuts 4 x 4 patches) or the path of a shard set. A corruption that two families have is of the one
    that is asked, by its own name of the first.
    rejpeg: made images go through JPEG, and so does a second clean condition, `clean_c`.
    Raises UsageError listing the legal names.
    """
    found = [Condition(shift=CLEAN)]
    if rejpeg:
        found.append(Condition(shift=CLEAN_C, rejpeg=True))
    for text in shifts:
        for made in _parse_one(text):
            condition = replace(made, rejpeg=rejpeg and made.data is None and made.shift != CLEAN_OWN)
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


def _parse_one(text: str) -> list[Condition]:
    if not text.strip():
        raise UsageError("--shift: is empty; name a shift such as imagenet-c or contrast:3.")
    families = FAMILIES | IMAGENET_C
    if text == CLEAN:
        return []
    if text == CLEAN_OWN:
        return [Condition(shift=CLEAN_OWN)]
    name, colon, wanted = text.partition(":")
    if colon and not wanted and name in (*families, *EVERY_NAME):
        raise UsageError(f"--shift {text}: names no severity after the colon; expected 1 to 5, such as {name}:3,5.")
    if name in families:
        family, severities = name if name in FAMILIES else None, _severities(text, name, wanted)
        return [_corruption(own, severity, family) for own in families[name] for severity in severities]
    if name in EVERY_NAME:
        return [_corruption(name, severity) for severity in _severities(text, name, wanted)]
    place = places.parse(text)
    if is_set(place):
        return [_stored_condition(ShardSet.open(place))]
    below = (
        [_stored_condition(data) for data in find_sets(place)] if isinstance(place, Remote) or place.is_dir() else []
    )
    if below:
        return sorted(below, key=_published_order)
    legal = [CLEAN, CLEAN_OWN, *families, *EVERY_NAME]
    near = get_close_matches(name, legal, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"--shift {text}: is no shift and no shard set.{hint} Shifts are {', '.join(legal)}.")


def _stored_condition(data: ShardSet) -> Condition:
    """A shard set as a condition. Stored corruptions of other names than ours are of a shift called as the set."""
    family = Condition(shift=data.manifest.name, data=data)
    told = data.manifest.extra.get("corruption")
    kind = told if isinstance(told, dict) else {}
    name, severity = kind.get("name"), kind.get("severity")
    if not isinstance(name, str) or not name or type(severity) is not int or severity < 1:
        return family
    if name in STORED_NAMES and severity in SEVERITIES:
        return replace(_corruption(name, severity, kind.get("family")), data=data)
    return replace(family, category=str(kind.get("category") or OTHER), corruption=name, severity=severity)


def _published_order(condition: Condition) -> tuple[int, str, int, str]:
    name = condition.corruption or ""
    place = STORED_NAMES.index(name) if name in STORED_NAMES else len(STORED_NAMES) if name else -1
    return place, name, condition.severity, condition.shift


def _corruption(name: str, severity: int, family: str | None = None) -> Condition:
    kind = CORRUPTIONS[name]
    return Condition(shift=family or kind.family, category=kind.category, corruption=name, severity=severity)


def _severities(text: str, name: str, wanted: str) -> list[int]:
    if name == "patch_shuffle":
        if not wanted.isdecimal() or not 2 <= int(wanted) <= MAX_PATCHES:
            raise UsageError(f"--shift {text}: expected the patches along a side, 2 to {MAX_PATCHES}: patch_shuffle:4.")
        return [int(wanted)]
    if name == "grayscale" and not wanted:
        return [1]
    values = wanted.split(",") if wanted else [str(severity) for severity in SEVERITIES]
    if not all(value in ("1", "2", "3", "4", "5") for value in values):
        raise UsageError(
            f"--shift {text}: severities are 1 to 5, such as {name}:3,5; another shift takes another --shift."
        )
    return sorted({int(value) for value in values})
