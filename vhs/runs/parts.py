"""A part of a run, measured: its tallies and what is known of the run, as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
        index=run.part.index, count=run.part.count, fingerprint=json.loads(json.dumps(measured.fingerprint)),
        record=plain(measured.record), asked=dict(asked or {}), provenance=json.loads(json.dumps(provenance)),
        typed=tuple(typed), samples=sum(ranks.gather([len(run.data)])), chosen=run.data.total,
        skipped=tuple(ranks.gather(list(run.data.skipped))),
    ))  # fmt: skip
