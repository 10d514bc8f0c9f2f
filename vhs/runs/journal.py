"""Finished conditions of a long run, kept on disk until the run's output is written.

A folder `OUT.partial` holds the run's fingerprint and, for each finished condition, its integer
tallies. Everything is written whole or not at all.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vhs.counts import Counts
from vhs.errors import InputError, MismatchError, UsageError, VhsError
from vhs.formats.atomic import sha256, write_whole

FINGERPRINT = "fingerprint.json"
Results = list[dict[str, Counts]]
"""For each model, its named tallies under one condition."""


class Journal:
    """Where finished conditions are kept; `None` as the folder keeps nothing."""

    def __init__(
        self, out: Path | None, fingerprint: Mapping[str, Any], *, resume: bool, may_differ: Collection[str] = ()
    ) -> None:
        """Raises MismatchError when --resume finds a run with another fingerprint, naming the difference.

        may_differ: what a resumed run may have changed (the tile, when it was named because memory ran out).
        """
        self._may_differ = may_differ
        self.folder = _folder(out) if out is not None else None
        self.found = self.dropped = 0
        if self.folder is None:
            if resume:
                raise UsageError("--resume needs -o FILE: without it nothing was kept.")
            return
        self._open(self.folder, json.loads(json.dumps(fingerprint)), resume)

    def _open(self, folder: Path, fingerprint: dict[str, Any], resume: bool) -> None:
        stored = folder / FINGERPRINT
        if resume and stored.exists():
            self._compare(_stored(stored), fingerprint)
            self.found = len(list(folder.glob("*.npz")))
            return
        self.dropped = len(list(folder.glob("*.npz"))) if folder.exists() else 0
        _remove(folder)
        if folder.exists():
            raise VhsError(f"{folder}: holds files that are not ours. Move them, or name another output.")
        write_whole(stored, json.dumps(fingerprint, indent=1, sort_keys=True).encode())

    def _compare(self, stored: dict[str, Any], now: dict[str, Any]) -> None:
        for key in sorted(set(stored) | set(now)):
            if stored.get(key) != now.get(key) and key not in self._may_differ:
                raise MismatchError(
                    f"{self.folder}: was begun with {key} {stored.get(key)!r}, now it is {now.get(key)!r}. "
                    f"Go back to the old value, or start anew without --resume."
                )

    def load(self, condition: str) -> Results | None:
        """The tallies of a finished condition, or None."""
        if self.folder is None or not self._path(condition).exists():
            return None
        with np.load(self._path(condition), allow_pickle=False) as archive:
            results: dict[int, dict[str, Counts]] = {}
            for name in archive.files:
                model, tally, fields = name.split("|")
                results.setdefault(int(model), {})[tally] = Counts(archive[name], tuple(fields.split(",")))
        return [results[model] for model in sorted(results)]

    def store(self, condition: str, results: Results) -> None:
        if self.folder is None:
            return
        arrays = {
            f"{model}|{name}|{','.join(counts.fields)}": counts.values
            for model, tallies in enumerate(results)
            for name, counts in tallies.items()
        }
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_whole(self._path(condition), buffer.getvalue())

    @staticmethod
    def discard(out: Path) -> None:
        """The output is written: forget the parts."""
        _remove(_folder(out))

    def _path(self, condition: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{sha256(condition.encode())[:24]}.npz"


def _folder(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _remove(folder: Path) -> None:
    """Remove our own files, and the folder when nothing else is in it.

    Without our fingerprint only what a killed write left is ours: its temporary files, and the folder itself.
    """
    if not folder.is_dir():
        return
    ours = list(folder.glob(".*.tmp"))
    if (folder / FINGERPRINT).is_file():
        ours += [*folder.glob("*.npz"), folder / FINGERPRINT]
    for path in ours:
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _stored(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: is damaged. Start anew without --resume.") from error
