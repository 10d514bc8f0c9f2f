"""A table of images: `metadata.csv` with a row for each, as Waterbirds and its successors write it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vhs.errors import InputError, UsageError, choices
from vhs.formats.split import Split, target_stats, train_shares
from vhs.sources import csv_rows
from vhs.sources.csv_rows import Row
from vhs.sources.folders import SPLITS, split_of_paths

FILE = "metadata.csv"
ROLES = ("path", "label", "target", "split", "group", "attr")
USUAL = {
    "path": ("path", "img_filename", "filename", "file_name", "file", "image"),
    "label": ("label", "y", "class", "target"),
    "split": ("split",),
}
"""Column names by which a role is found when --columns does not name it."""
NUMBERED = {"0": "train", "1": "val", "2": "test"}
"""Splits by number, as Waterbirds and WILDS write them."""

Columns = dict[str, list[str]]
"""Role -> columns; `attr` and `target` may have several, and `group` several that are joined by `+`."""


def parse_columns(text: str) -> Columns:
    """`path=img_filename,label=y,group=y+place,attr=place` -> columns by role. Raises UsageError."""
    found: Columns = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        if role not in ROLES or not equals or not column or (role in found and role not in ("attr", "target")):
            raise UsageError(
                f"--columns {text}: at {part!r}; expected ROLE=COLUMN with {choices(ROLES)}; attr and target repeat."
            )
        found.setdefault(role, []).extend(column.split("+") if role == "group" else [column])
    return found


def is_folder(folder: Path) -> bool:
    return (folder / FILE).is_file()


def splits(folder: Path, columns: str | None = None) -> list[Split]:
    """One split for each value of the split column; without one a single split, `val`.

    columns: which is what, as --columns says; None for the usual names.
    Every manifest carries how many training samples each group value has, for re-weighting.
    """
    path = folder / FILE if folder.is_dir() else folder
    rows, header = csv_rows.read(path)
    places = _resolve(path, header, parse_columns(columns) if columns else {})
    classes = () if "target" in places else _class_names({row[places["label"][0]] for row in rows})
    parts: dict[str, list[Row]] = {}
    for number, row in enumerate(rows, start=2):
        parts.setdefault(_split_name(row, places, f"{path}: row {number}"), []).append(row)
    made = [_split(path, name, parts[name], places, classes) for name in ("train", "val", "test") if name in parts]
    shares = train_shares((part.split, part.attributes) for part in made)
    stats = target_stats(next((part for part in made if part.split == "train"), made[0]))
    extra = ({"train_groups": shares} if shares else {}) | ({"target_stats": stats} if stats else {})
    return [replace(part, extra=extra) for part in made]


def _resolve(path: Path, header: list[str], named: Columns) -> Columns:
    """Columns for the roles, asked for or usual. Raises InputError naming what is missing and what there is."""
    found = dict(named)
    for role, usual in USUAL.items():
        match = next((name for name in usual if name in header), None)
        if role not in found and match and not (role == "label" and "target" in found):
            found[role] = [match]
    missing = [role for role in ("path", "label") if role not in found and not (role == "label" and "target" in found)]
    absent = [name for names in found.values() for name in names if name not in header]
    if missing or absent:
        what = f"no column for {missing[0]}" if missing else f"no column {absent[0]}"
        raise InputError(f"{path}: {what}; it has {', '.join(header)}. Name them: --columns path=…,label=…,split=….")
    return found


def _class_names(values: set[str]) -> tuple[str, ...]:
    """By number where all are numbers, else by name."""
    numbers = all(value.isdecimal() and len(value) < 10 for value in values)
    return tuple(sorted(values, key=(lambda text: (int(text), text)) if numbers else str))


def _split_name(row: Row, columns: Columns, where: str) -> str:
    if "split" not in columns:
        return "val"
    value = row[columns["split"][0]]
    name = NUMBERED.get(value) or SPLITS.get(value.lower())
    if name is None:
        raise InputError(f"{where}: split {value!r}; expected {choices([*SPLITS, *NUMBERED])}.")
    return name


def _number(path: Path, row: Row, column: str) -> float:
    try:
        number = float(row[column])
    except ValueError:
        number = float("nan")
    if not abs(number) < 1e30:
        raise InputError(f"{path}: {column} is {row[column]!r}; a target is a finite number.")
    return number


def _split(path: Path, name: str, rows: Sequence[Row], columns: Columns, classes: tuple[str, ...]) -> Split:
    relative = [Path(row[columns["path"][0]]) for row in rows]
    for place in relative:
        if not place.name:
            raise InputError(f"{path}: a row of split {name} names no image.")
        if place.is_absolute() or ".." in place.parts:
            raise InputError(f"{path}: {place}: leaves the folder; expected paths below {path.parent}.")
    attributes = {column: [row[column] for row in rows] for column in columns.get("attr", ())}
    if "group" in columns:
        attributes["group"] = ["+".join(row[column] for column in columns["group"]) for row in rows]
    targets = {column: [_number(path, row, column) for row in rows] for column in columns.get("target", ())}
    labels = [0 if targets else classes.index(row[columns["label"][0]]) for row in rows]
    made = split_of_paths(
        path.parent, relative, labels, classes, name=path.parent.resolve().name, split=name, attributes=attributes
    )
    return replace(made, targets=targets)
