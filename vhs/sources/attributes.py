"""Attributes of images from a table beside them: a CSV or JSON lines with a column of file names (ImageNet-X)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vhs.errors import InputError, choices
from vhs.formats import regular
from vhs.formats.split import Split, sample_key, train_shares
from vhs.progress import Note, unheard
from vhs.sources import csv_rows

FILES = ("file_name", "filename", "img_filename", "path", "file", "image", "image_id", "name", "id")
"""Columns that hold file names or ids, the first that is there."""
OTHERS = "*"
"""The file name of a row whose values are those of all images without one."""
MOST = 64
"""Values of a column that is taken without being named."""
NONE = "none"
"""An empty value."""
TAKEN = ("label", "labels")
"""Names that stand for classes already."""


@dataclass(frozen=True)
class Attributes:
    """rows: by sample id, values by column; columns: all but that of file names."""

    where: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    def of(self, ids: Sequence[str], split: str) -> list[Mapping[str, str]]:
        """The row of each sample. Raises InputError for one that has none."""
        others = self.rows.get(OTHERS)
        found = [self.rows.get(name, others) for name in ids]
        lacking = [name for name, row in zip(ids, found, strict=True) if row is None]
        if lacking:
            raise InputError(
                f"{self.where}: has no row for {len(lacking):,} of {len(ids):,} images of {split}, the first "
                f"{lacking[0]}. Add them, or a row with the file name {OTHERS} for all others."
            )
        return [row for row in found if row is not None]


def read(path: Path) -> Attributes:
    """A `.csv` or `.tsv` with a header, or JSON lines. Raises InputError for neither, or an image with two rows."""
    mark = {".csv": ",", ".tsv": "\t"}.get(path.suffix)
    rows: Sequence[Mapping[str, Any]] = _of_json(path) if mark is None else csv_rows.read(path, mark)[0]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = next((name for name in FILES if name in columns), None)
    if file is None:
        raise InputError(
            f"{path}: has no column of file names; it has {', '.join(columns)}. Call it {choices(FILES[:3])}."
        )
    named = tuple(name for name in columns if name != file)
    paths: dict[str, Mapping[str, str]] = {}
    bases: dict[str, Mapping[str, str] | None] = {}
    for number, row in enumerate(rows, start=1):
        told = {name: _text(row.get(name)) for name in named}
        whole, base = _keys(_text(row.get(file)))
        if paths.setdefault(whole, told) is not told:
            raise InputError(f"{path}: row {number}: {row[file]} has a row already.")
        bases[base] = None if base in bases else told  # two folders' images of one base name are told by their paths
    return Attributes(str(path), named, {key: row for key, row in bases.items() if row is not None} | paths)


def joined(
    splits: Sequence[Split], table: Attributes, wanted: Sequence[str] | None, note: Note = unheard
) -> list[Split]:
    """The splits with these columns as attributes; without any named all that have up to MOST values, which is said."""
    rows = [table.of(split.names or split.ids, f"{split.name}/{split.split}") for split in splits]
    values = {column: {row[column] for part in rows for row in part} for column in table.columns}
    columns = list(wanted) if wanted else [name for name, found in values.items() if len(found) <= MOST]
    _check(table, columns, splits)
    left = [f"{name} ({len(values[name]):,} values)" for name in table.columns if name not in columns]
    if left and not wanted:
        note(f"{table.where}: left out {', '.join(left)}; name columns to take them")
    made = [{name: [row[name] for row in part] for name in columns} for part in rows]
    shares = train_shares((split.split, own) for split, own in zip(splits, made, strict=True))
    return [
        replace(split, attributes=dict(split.attributes) | own, extra=_with_shares(split.extra, shares))
        for split, own in zip(splits, made, strict=True)
    ]


def _check(table: Attributes, columns: Sequence[str], splits: Sequence[Split]) -> None:
    if not columns:
        raise InputError(f"{table.where}: no column has {MOST} values or fewer. Name some with --attribute-columns.")
    absent = next((name for name in columns if name not in table.columns), None)
    if absent is not None:
        raise InputError(f"{table.where}: has no column {absent}; it has {', '.join(table.columns)}.")
    odd = next((name for name in columns if name in TAKEN or "=" in name or not name), None)
    known = next((name for split in splits for name in columns if name in split.attributes), None)
    if odd is not None or known is not None:
        why = (
            f"is called {odd}, which --by takes for classes or cannot name" if odd is not None else f"{known} is there"
        )
        raise InputError(
            f"{table.where}: a column {why} already. Rename it, or choose others with --attribute-columns."
        )


def _with_shares(extra: Mapping[str, Any], shares: Mapping[str, Any]) -> dict[str, Any]:
    return dict(extra) | ({"train_groups": extra.get("train_groups", {}) | shares} if shares else {})


def _keys(name: str) -> tuple[str, str]:
    """The sample ids that an image of this file name may have: its path's, and its base name's."""
    path = Path(name)
    if name == OTHERS or not path.name:
        return name, name
    parts = [part for part in path.with_suffix("").parts if part not in ("/", ".", "..")]
    return sample_key("__".join(parts)), sample_key(path.stem)


def _text(value: Any) -> str:
    if value is None or value == "":
        return NONE
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_json(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(regular.text(path).removeprefix("\ufeff").splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or any(isinstance(value, (list, dict)) for value in row.values()):
            raise InputError(f"{path}: line {number}: expected a JSON object of plain values, or a .csv with a header.")
        rows += [row] if row else []
    if not rows:
        raise InputError(f"{path}: has no rows.")
    return rows
