"""Tables of text with a header that others wrote, every row as wide as it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from vhs.errors import InputError
from vhs.formats import regular

Row = dict[str, str]


def read(path: Path, mark: str = ",") -> tuple[list[Row], list[str]]:
    """(rows, header), fields parted by `mark`. Raises InputError naming a row with more or fewer fields."""
    try:
        text = io.StringIO(regular.read(path).decode("utf-8-sig"), newline="")
        table = csv.DictReader(text, delimiter=mark, restkey="")
        rows, header = list(table), list(table.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}.") from error
    if not rows:
        raise InputError(f"{path}: has no rows below its header.")
    for number, row in enumerate(rows, start=2):
        if "" in row or None in row.values():
            raise InputError(f"{path}: row {number} has more or fewer fields than the header's {len(header)}.")
    return rows, header
