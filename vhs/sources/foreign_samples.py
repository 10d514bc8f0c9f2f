"""The samples of tars that others wrote: grouped by webdataset's own pipeline, found again by our index of the tar.

webdataset gets streams that we open, never URLs: its own way to the web runs shell commands. Its grouping is what its
users know: a key ends at the first dot after the last slash, suffixes are lower case, members starting with `__` are
left out. Where its reader and ours see another size under a name, the tar is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

from vhs.errors import InputError, UsageError
from vhs.formats import tar
from vhs.formats.images import SUFFIXES
from vhs.formats.tar import Member

JSON_LABELS = ("label", "cls", "class_id", "class", "target")
"""Keys of a .json that are taken for the label, if no other is named."""


class Foreign(NamedTuple):
    """One sample: its key in the tar, its label as text, the name of its class where one is told, and where its image
    lies."""

    key: str
    label: str
    class_name: str | None
    image: Member


@dataclass(frozen=True)
class Teller:
    """A member that says something of a sample: `cls`, `txt`, or `json:KEY`."""

    suffix: str
    key: str = ""

    @classmethod
    def parse(cls, text: str, option: str) -> Teller:
        """Raises UsageError for what is none."""
        suffix, _, key = text.partition(":")
        if suffix not in ("cls", "txt", "json") or bool(key) != (suffix == "json"):
            raise UsageError(f"{option} {text}: expected cls, txt or json:KEY.")
        return cls(suffix, key)

    def __str__(self) -> str:
        return f"{self.suffix}:{self.key}" if self.key else self.suffix

    def of(self, sample: Mapping[str, Any]) -> str | None:
        """What it says, as text; None where the sample has no such member."""
        data = sample.get(self.suffix)
        if data is None:
            return None
        if self.suffix != "json":
            return bytes(data).decode(errors="replace").strip()
        try:
            value = json.loads(data).get(self.key)
        except (ValueError, AttributeError, RecursionError):
            return None
        return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else None


TOLD = (Teller("cls"), *(Teller("json", key) for key in JSON_LABELS), Teller("txt"))
"""What may be a label, in the order in which it is taken for one."""


@dataclass
class Reading:
    """How samples are told over all tars of a source. label: None until the first sample has told which member it is;
    bare: those that have a label and no image, which are left out."""

    label: Teller | None = None
    class_name: Teller | None = None
    bare: list[str] = field(default_factory=list)


def samples(file: IO[bytes], where: str, reading: Reading) -> Iterator[Foreign]:
    """Every sample of an open tar with an image, in order.

    Raises InputError naming tar and sample for one without a label.
    """
    data = tar.mapped(file)
    found = [(_place(member.name), member) for member in tar.members(data, where, others=True)]
    lies, counts = dict(found), Counter(name for name, _ in found)
    for sample in _grouped(file, where):
        key = sample["__key__"]
        suffix = _image(sample, f"{where}: {key}")
        if suffix is None:
            if any(member.of(sample) for member in TOLD):
                reading.bare.append(f"{where}: {key}")
            continue
        if counts[f"{key}.{suffix}"] > 1:
            raise InputError(f"{where}: {key}.{suffix}: stands twice in the tar. Leave one of them out.")
        member = lies.get(f"{key}.{suffix}")
        if member is None or member.size != len(sample[suffix]):
            raise InputError(
                f"{where}: {key}: two readers of tars disagree about it; the file is damaged, or an odd one."
            )
        reading.label = reading.label or _told_by(sample, f"{where}: {key}")
        said = reading.label.of(sample)
        if not said:
            raise InputError(
                f"{where}: {key}: has no label in {reading.label}. Name the member that has: --label cls, txt or "
                f"json:KEY."
            )
        yield Foreign(key, said, reading.class_name.of(sample) if reading.class_name else None, member)


def _grouped(file: IO[bytes], where: str) -> Iterator[dict[str, Any]]:
    import tarfile

    from webdataset.tariterators import group_by_keys, tar_file_expander

    try:
        yield from group_by_keys(tar_file_expander([{"url": where, "stream": file}]))
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0][:120]
        raise InputError(f"{where}: cannot be read as WebDataset does: {reason}.") from error


def _place(name: str) -> str:
    """A member's name with its suffixes in lower case, as webdataset calls it."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return f"{folder}{slash}{stem}{dot}{suffix.lower()}"


def _image(sample: Mapping[str, Any], where: str) -> str | None:
    """The suffix of a sample's image: jpg, or the one that ends so (`input.jpg`); None where it has none."""
    found = [suffix for suffix in sample if suffix.rpartition(".")[2] in SUFFIXES and not suffix.startswith("__")]
    plain = [suffix for suffix in found if suffix in SUFFIXES]
    if len(plain or found) > 1:
        raise InputError(f"{where}: has several images: {', '.join(plain or found)}; one was expected.")
    return next(iter(plain or found), None)


def _told_by(sample: Mapping[str, Any], where: str) -> Teller:
    """The member that a label is taken from, if none was named."""
    found = next((member for member in TOLD if member.of(sample)), None)
    if found is None:
        members = ", ".join(suffix for suffix in sample if not suffix.startswith("__"))
        raise InputError(
            f"{where}: no member tells its class; it has {members}. Name one: --label cls, txt or json:KEY."
        )
    return found
