"""Finished conditions of a long run, kept on disk until the run's output is written.

A folder `OUT.partial` holds the run's fingerprint and, for each finished condition, its integer
tallies behind a digest of tallies and fingerprint. Everything is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vhs.counts import Counts
from vhs.errors import InputError, MismatchError, Terminated, UsageError, VhsError
from vhs.formats import locks, regular
from vhs.formats.atomic import check_target, is_ordinary, sha256, write_own
from vhs.progress import Note, unheard
from vhs.records.fingerprints import differences
from vhs.world import is_first

FINGERPRINT = "fingerprint.json"
ENTRY = ".tallies"
DIGEST = 32
"""Bytes before the tallies of an entry."""
TILE = ("tile", "group")
Results = list[dict[str, Counts]]
"""For each model, its named tallies under one condition."""


class Journal:
    """Where finished conditions are kept; `None` as the folder keeps nothing."""

    def __init__(
        self, out: Path | None, fingerprint: Mapping[str, Any], *, resume: bool = False,
        may_differ: Collection[str] = (), note: Note = unheard,
    ) -> None:  # fmt: skip
        """Raises MismatchError when --resume finds a run with another fingerprint, naming the difference.

        may_differ: what a resumed run may have changed (the tile, when it was named because memory ran out).
        """
        self._may_differ, self._note = may_differ, note
        self._key = b""
        self.folder = _folder(out) if out is not None else None
        self.found = self.dropped = 0
        if self.folder is not None:
            self._open(self.folder, json.loads(json.dumps(fingerprint)), resume)

    def _open(self, folder: Path, fingerprint: dict[str, Any], resume: bool) -> None:
        stored = folder / FINGERPRINT
        if resume and stored.exists():
            self._compare(_read_fingerprint(stored), fingerprint)
            self.found = len(list(folder.glob(f"*{ENTRY}")))
        else:
            self.dropped = len(list(folder.glob(f"*{ENTRY}"))) if folder.exists() else 0
            _remove(folder)
            if folder.exists():
                raise VhsError(f"{folder}: holds files that are not ours. Move them, or name another output.")
            write_own(stored, json.dumps(fingerprint, indent=1, sort_keys=True).encode())
        self._key = hashlib.sha256(regular.read(stored)).digest()

    def _compare(self, stored: dict[str, Any], now: dict[str, Any]) -> None:
        found = next((item for item in differences(stored, now) if item.key not in self._may_differ), None)
        if found is not None:
            raise MismatchError(
                f"{self.folder}: was begun with {found.option} {found.one}, now it is {found.other}. "
                f"Go back to the old value, or start anew without --resume."
            )

    def load(self, condition: str) -> Results | None:
        """The tallies of a finished condition; None where there are none, or none that are sound, which is said."""
        if self.folder is None or not self._path(condition).exists():
            return None
        try:
            return _unpack(regular.read(self._path(condition)), self._key)
        except (InputError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            self._note(f"{condition}: what was kept of it is damaged or another run's; it is measured again")
            return None

    def store(self, condition: str, results: Results) -> None:
        """Keep the tallies of a finished condition."""
        if self.folder is None:
            return
        arrays = {
            f"{model}|{name}|{','.join(counts.fields)}": counts.values
            for model, tallies in enumerate(results)
            for name, counts in tallies.items()
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        tallies = buffer.getvalue()
        write_own(self._path(condition), _digest(tallies, self._key) + tallies)

    def _path(self, condition: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{sha256(condition.encode())[:24]}{ENTRY}"


@dataclass(frozen=True)
class Keeping:
    """Whether and where a run keeps its finished conditions.

    out: the file its main table will be written to, None keeps nothing; resume: continue what is kept;
    new_tile: also at another tile.
    """

    out: Path | None = None
    resume: bool = False
    new_tile: bool = False

    def discard(self) -> None:
        """The output is written: forget the parts."""
        if self.out is not None and is_first():
            _remove(_folder(self.out))

    def open(self, fingerprint: Mapping[str, Any], conditions: int, note: Note) -> Journal:
        """The journal of a run of so many conditions; says what was found there. The first process keeps it."""
        may_differ = TILE if self.new_tile and "part" not in fingerprint else ()  # a part's samples go by its tile
        journal = Journal(
            self.out if is_first() else None, fingerprint, resume=self.resume, may_differ=may_differ, note=note
        )
        if self.resume:
            note(f"continuing after {journal.found} of {conditions} conditions")
        elif journal.dropped:
            note(
                f"starting anew; {journal.dropped} finished conditions of an earlier run dropped (--resume keeps them)"
            )
        return journal


NOTHING_KEPT = Keeping()


@contextmanager
def keep(
    out: Path | None, *, resume: bool, new_tile: bool = False, dry_run: bool = False, note: Note = unheard
) -> Iterator[Keeping]:  # fmt: skip
    """Hold the lock of the main output, and say where finished conditions are kept beside it.

    Raises UsageError where there is nothing to resume from, VhsError where another run writes the output.
    """
    file = out if out is not None and is_ordinary(out) else None
    if resume and file is None:
        raise UsageError("--resume: needs -o FILE, beside which finished conditions were kept.")
    if dry_run:
        yield NOTHING_KEPT
        return
    if file is not None:
        check_target(file)
    with locks.hold([file], note):
        try:
            yield Keeping(file, resume, new_tile)
        except (KeyboardInterrupt, Terminated):
            if file:
                note(f"stopped; finished conditions are kept in {file}.partial, --resume continues")
            raise


def _unpack(data: bytes, key: bytes) -> Results:
    """Raises ValueError for an entry whose digest is another."""
    digest, tallies = data[:DIGEST], data[DIGEST:]
    if digest != _digest(tallies, key):
        raise ValueError
    with np.load(io.BytesIO(tallies), allow_pickle=False) as archive:
        results: dict[int, dict[str, Counts]] = {}
        for name in archive.files:
            model, tally, fields = name.split("|")
            results.setdefault(int(model), {})[tally] = Counts(archive[name], tuple(fields.split(",")))
    return [results[model] for model in sorted(results)]


def _digest(tallies: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(tallies, digest_size=DIGEST, key=key).digest()


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
        ours += [*folder.glob(f"*{ENTRY}"), *folder.glob("*.npz"), folder / FINGERPRINT]  # .npz: of vhs 0.1.0
    for path in ours:
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _read_fingerprint(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(regular.read(path)))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: is damaged. Start anew without --resume.") from error
