"""Parts of one run, added: whether they are all of it, each once and of one kind; and the tables of the whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vhs.errors import InputError, MismatchError, UsageError
from vhs.formats.part_file import PartFile, PartInfo
from vhs.formats.typed_json import build
from vhs.records.fingerprints import differences
from vhs.records.kinds import KINDS, Kind
from vhs.records.record import Record, Results

LISTED = 8
"""Parts that are named, where many are missing."""


@dataclass(frozen=True)
class Merged:
    """All parts of a run, in order, and its record."""

    parts: tuple[PartFile, ...]
    record: Record

    @property
    def kind(self) -> Kind:
        """What was measured."""
        return KINDS[self.record.measured]

    @property
    def asked(self) -> dict[str, Any]:
        """What is to be made of it."""
        return self.parts[0].info.asked

    @property
    def skipped(self) -> list[str]:
        """What was said of bad samples that were left out."""
        return [message for part in self.parts for message in part.info.skipped]

    def tables(self) -> Iterator[Any]:
        """The tables of each condition."""
        for number, condition in enumerate(self.record.conditions):
            yield self.kind.make(self.record, condition, self._total(number))

    def _total(self, number: int) -> Results:
        """Tallies added over parts. Raises MismatchError for unlike ones, InputError where nothing was measured."""
        totals: list[dict[str, Any]] = []
        name = self.record.conditions[number].name
        for part in self.parts:
            try:
                totals = part.add_to(totals, number)
            except (ValueError, IndexError) as error:
                raise MismatchError(
                    f"{part.where}: counted other things under {name} than {self.parts[0].where}. With --skip-bad an "
                    f"image that is bad before its shift does that: mend it, and run all parts again."
                ) from error
        if len(totals) != len(self.record.models):
            raise InputError(f"{self.parts[0].where}: holds no tallies under {name}. Run this part again.")
        if not any(counts.total("n").any() for counts in totals[0].values() if "n" in counts.fields):
            raise InputError(f"{self.parts[0].where}: no sample could be decoded under {name}, in no part.")
        return totals


def merge(parts: Sequence[PartFile]) -> Merged:
    """Parts in any order. Raises MismatchError naming what is missing, there twice, or unlike."""
    if not parts:
        raise UsageError("names no part. Name all parts of a run, or @FILE that lists them.")
    first = parts[0]
    for part in parts[1:]:
        _check_alike(first, part)
    _check_complete(parts)
    record = record_of(first.info, first.where)
    return Merged(tuple(sorted(parts, key=lambda part: part.info.index)), record)


def record_of(info: PartInfo, where: str) -> Record:
    """The record that a part holds. Raises InputError for an unsound one."""
    try:
        record: Record = build(Record, info.record)
        if record.measured not in KINDS or not record.models or not record.conditions:
            raise ValueError(f"it measured {record.measured!r:.40}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{where}: is a damaged part: {error}. Run this part again.") from error
    return record


def _check_alike(one: PartFile, other: PartFile) -> None:
    a, b = ({**part.info.fingerprint, **part.info.asked} for part in (one, other))
    found = next(differences(a, b), None)
    if found is not None:
        raise MismatchError(
            f"{other.where}: was made with {found.option} {found.other}, {one.where} with {found.one}. "
            f"Name parts of one run."
        )
    if one.info.count != other.info.count:
        raise MismatchError(
            f"{other.where}: is part {other.info.part}, {one.where} is part {one.info.part}: "
            f"{one.info.count} and {other.info.count} parts do not add up. Name parts of one partition."
        )
    if _words(one) != _words(other):
        raise MismatchError(
            f"{other.where}: describes its run in other words than {one.where}, though the options are the same. "
            f"Run all parts with one vhs, on the same files."
        )


def _words(part: PartFile) -> str:
    return json.dumps(part.info.record, sort_keys=True)


def _check_complete(parts: Sequence[PartFile]) -> None:
    known: dict[int, PartFile] = {}
    for part in parts:
        twice = known.setdefault(part.info.index, part)
        if twice is not part:
            raise MismatchError(
                f"{part.where}: is part {part.info.part} of the run, and so is {twice.where}. Name each part once."
            )
    count = parts[0].info.count
    lacking = [f"{index}/{count}" for index in range(count) if index not in known]
    if lacking:
        some = ", ".join(lacking[:LISTED]) + (", …" if len(lacking) > LISTED else "")
        are = "part {} is" if len(lacking) == 1 else "parts {} are"
        raise MismatchError(
            f"{are.format(some)} missing: {len(known)} of {count} were named. Run what is missing, or name its file."
        )
