"""A part of a run, measured: its tallies and what is known of the run, as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vhs.errors import InputError
from vhs.formats import part_file
from vhs.formats.part_file import PartInfo, Tallies
from vhs.formats.typed_json import plain
from vhs.records.fingerprints import Difference, differences
from vhs.runs import ranks
from vhs.runs.recording import Measured
from vhs.world import Part, is_first


def collect(
    measured: Measured, provenance: Mapping[str, Any], *, asked: Mapping[str, Any] | None = None,
    typed: Sequence[str] = (),
) -> bytes:  # fmt: skip
    """Measure, and give the bytes of the part file. provenance: of the whole run; asked: what is to be made of it;
    typed: the words of the command."""
    run, tallies = measured.run, Tallies()
    for results in measured.tallies:
        tallies.add(list(results))
    return tallies.to_bytes(PartInfo(
        **_told(measured, asked), provenance=_as_read(provenance), typed=tuple(typed),
        samples=sum(ranks.gather([len(run.data)])), chosen=run.data.total,
        skipped=tuple(ranks.gather(list(run.data.skipped))),
    ))  # fmt: skip


def is_complete(path: Path, measured: Measured, asked: Mapping[str, Any] | None = None) -> bool:
    """Whether a file is this part already, which is said; or in what another part there differs. Measures nothing."""
    found, difference = ranks.from_first(_compared(path, _told(measured, asked)))
    if found and is_first():
        part, note = measured.run.part, measured.run.note
        if difference is None:
            note(f"{path}: part {part} is complete already")
        else:
            told = f"{difference.option} {difference.one}, now it is {difference.other}"
            note(f"{path}: is a part that was made with {told}; it is measured anew and written over")
    return bool(found) and difference is None


def _compared(path: Path, told: Mapping[str, Any]) -> tuple[bool, Difference | None]:
    """Whether there is a part, and the first thing in which it differs."""
    try:
        info = part_file.read(path).info if part_file.is_part_file(path) else None
    except InputError:  # a damaged one is measured again
        info = None
    if info is None:
        return False, None
    one, other = (
        {**each["fingerprint"], **each["asked"], "part": str(Part(each["index"], each["count"])),
         "described as": each["record"]} for each in (vars(info), told)
    )  # fmt: skip
    return True, next(differences(_as_read(one), _as_read(other)), None)


def _told(measured: Measured, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What tells a part from those of other runs, and from the others of its run."""
    part = measured.run.part
    return {
        "index": part.index, "count": part.count, "fingerprint": _as_read(measured.fingerprint),
        "record": plain(measured.record), "asked": dict(asked or {}),
    }  # fmt: skip


def _as_read(told: Any) -> Any:
    return json.loads(json.dumps(told))
