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
from vhs.runs import ranks
from vhs.runs.recording import Measured


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
    """Whether a file is this part already: of the same weights, data, options and versions. Measures nothing."""
    return bool(ranks.from_first(_holds(path, _told(measured, asked))))


def _holds(path: Path, told: Mapping[str, Any]) -> bool:
    try:
        info = part_file.read(path).info if part_file.is_part_file(path) else None
    except InputError:  # a damaged one is measured again
        return False
    return info is not None and all(_as_read(getattr(info, name)) == _as_read(told[name]) for name in told)


def _told(measured: Measured, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What tells a part from those of other runs, and from the others of its run."""
    part = measured.run.part
    return {
        "index": part.index, "count": part.count, "fingerprint": _as_read(measured.fingerprint),
        "record": plain(measured.record), "asked": dict(asked or {}),
    }  # fmt: skip


def _as_read(told: Any) -> Any:
    return json.loads(json.dumps(told))
