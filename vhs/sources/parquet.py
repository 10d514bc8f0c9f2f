"""Images in Parquet as the Hugging Face hub keeps them: data/train-00000-of-00002.parquet, validation-…, test-….

A column of structs {bytes, path} holds the encoded images, another the label, or the list of all right labels. Class
names stand in the file's metadata. Images are read some rows at a time, never all of a file.
"""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from vhs.errors import InputError
from vhs.formats.atomic import sha256
from vhs.formats.split import Split, class_names, sample_ids, with_labels
from vhs.formats.tables import quiet_panics
from vhs.sources import parquet_files
from vhs.sources.folders import PROBED, channels_of
from vhs.sources.metadata import Columns, parse_columns

LABELS = ("label", "labels", "fine_label")
"""Columns that are taken for the label if --columns names none, the first that is there."""
ROWS, KEPT = 256, 3
"""Rows that are read at a time, and how many such blocks are kept."""


def is_folder(folder: Path) -> bool:
    """Whether `folder`, or the `data` or `default` in it, holds Parquet files named after splits."""
    return bool(parquet_files.of_splits(folder))


def splits(folder: Path, columns: str | None = None) -> list[Split]:
    """One split for each that has files and labels. columns: which is the image (path), the label, an attribute."""
    files = parquet_files.of_splits(folder)
    if not files:
        raise InputError(
            f"{folder}: holds no files such as data/train-00000-of-00002.parquet. Name the folder of one configuration."
        )
    named = parse_columns(columns) if columns else {}
    parts = {split: _Part.open(folder, paths, named) for split, paths in files.items()}
    _check_kinds(folder, parts)
    names = _one_list(folder, parts)
    labels = {split: found for split, part in parts.items() if (found := part.labels(names)) is not None}
    if not labels:
        raise InputError(f"{folder}: none of its splits ({', '.join(files)}) has labels.")
    largest = np.array([max(label for part in labels.values() for of_one in part for label in of_one)])
    classes = names if names is not None else class_names(largest, str(folder))
    if largest[0] >= len(classes):
        raise InputError(f"{folder}: label {largest[0]}; its metadata names {len(classes)} classes.")
    return [parts[split].split(folder.resolve().name, split, classes, found) for split, found in labels.items()]


def _check_kinds(folder: Path, parts: dict[str, _Part]) -> None:
    """Raises InputError where labels are words in one file and numbers in another."""
    words = {path: part.are_words(path) for part in parts.values() for path in part.paths}
    if len(set(words.values())) > 1:
        one, other = (next(path for path, found in words.items() if found == kind) for kind in (True, False))
        raise InputError(
            f"{folder}: labels are words in {one.name} of {one.parent.name} and numbers in {other.name} of "
            f"{other.parent.name}. Download all files of one version."
        )


def _one_list(folder: Path, parts: dict[str, _Part]) -> tuple[str, ...] | None:
    """The names of the classes, in the order of labels: those of the metadata, or of labels that are words; None where
    labels are numbers alone. Raises InputError where files name them differently."""
    told = {names: split for split, part in parts.items() for names in part.names}
    if len(told) > 1:
        (one, first), (other, second) = list(told.items())[:2]
        odd = next((pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]), (len(one), len(other)))
        raise InputError(
            f"{folder}: files of {first} and {second} name the classes differently ({odd[0]}, {odd[1]}). Download all "
            f"files of one version."
        )
    words = {word for part in parts.values() for word in part.words()}
    return next(iter(told), None) if not words else tuple(sorted(words))


@dataclass(frozen=True)
class _Part:
    """The files of one split. image, label, attributes: columns; names: of the classes, as its files tell them, each
    list once."""

    paths: list[Path]
    image: str
    label: str
    attributes: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]

    @classmethod
    def open(cls, folder: Path, paths: list[Path], named: Columns) -> _Part:
        """named: columns by role. Raises InputError where a column is missing, or which one is meant is open."""
        schema = _tried(paths[0], lambda: pl.read_parquet_schema(paths[0]))
        image = _column(folder, schema, named.get("path", []), _is_image, "structs of bytes and path")
        usual = [name for name in LABELS if name in schema and _is_label(schema[name])][:1]
        asked = named.get("label", usual)
        label = _column(folder, schema, asked, _is_label if asked else _is_number, "whole numbers, or lists of them")
        attributes = tuple(named.get("attr", ()))
        if absent := [name for name in attributes if name not in schema]:
            raise InputError(f"{folder}: no column {absent[0]}; it has {', '.join(schema)}.")
        told = dict.fromkeys(names for path in paths if (names := _names(path, label)) is not None)
        return cls(paths, image, label, attributes, tuple(told))

    def are_words(self, path: Path) -> bool:
        """Whether the labels in this file are."""
        return bool(_tried(path, lambda: pl.read_parquet_schema(path)).get(self.label) == pl.String)

    def words(self) -> set[str]:
        """The labels, where they are words."""
        if not self.are_words(self.paths[0]):
            return set()
        return set(self._read(self.label).drop_nulls().unique().to_list())

    def labels(self, names: tuple[str, ...] | None) -> list[list[int]] | None:
        """All right labels of each sample; None where there are none, or only -1, as in test sets on the hub."""
        column = self._read(self.label)
        in_words = column.dtype == pl.String
        if in_words:
            place = {name: number for number, name in enumerate(names or ())}
            column = pl.Series([place.get(word, -1) for word in column.to_list()], dtype=pl.Int64)
        listed = column if isinstance(column.dtype, pl.List) else column.cast(pl.Int64).reshape((-1, 1)).arr.to_list()
        found = [list(dict.fromkeys(of_one or [])) for of_one in listed.to_list()]
        if all(label is None or label < 0 for of_one in found for label in of_one):
            return None
        for row, of_one in enumerate(found):
            if not of_one or any(label is None or label < 0 for label in of_one):
                told = "empty" if in_words else str(of_one)
                raise InputError(
                    f"{self.paths[0].parent}: row {row} of {self.label} is {told}; expected labels from 0."
                )
        return found

    def split(self, name: str, split: str, classes: tuple[str, ...], labels: list[list[int]]) -> Split:
        rows = _Rows(self.paths, self.image)
        rows.check()
        sizes = [f"{path.name}:{(told := path.stat()).st_size}:{told.st_mtime_ns}" for path in self.paths]
        made = Split(
            name=name, split=split, classes=classes, ids=self._ids(split, len(labels)), labels=[0] * len(labels),
            encoded=rows.encoded, channels=channels_of(rows.opened(min(PROBED, len(labels)))),
            fingerprint=sha256("\n".join([*sizes, self.image, self.label]).encode()), source=name,
            attributes={column: self._texts(column) for column in self.attributes},
        )  # fmt: skip
        return with_labels(made, labels)

    def _ids(self, split: str, count: int) -> list[str]:
        """The stems of the images' paths where these differ, else split and row."""
        paths = self._read(pl.col(self.image).struct.field("path")).to_list()
        if all(paths) and len({Path(path).stem for path in paths}) == count:
            return sample_ids([Path(path) for path in paths])
        return [f"{split}-{row:06d}" for row in range(count)]

    def _texts(self, column: str) -> list[str]:
        return ["none" if value is None else str(value) for value in self._read(column).to_list()]

    def _read(self, column: str | pl.Expr) -> pl.Series:
        return pl.concat([_tried(path, partial(_one_column, path, column)) for path in self.paths])


class _Rows:
    """Encoded images by position over several files; a few blocks of rows are kept."""

    def __init__(self, paths: Sequence[Path], image: str) -> None:
        self._paths, self._image = paths, image
        counts = [_tried(path, partial(_one_column, path, pl.len())).item() for path in paths]
        self._ends = list(accumulate(counts))
        self._blocks: OrderedDict[tuple[int, int], list[bytes | None]] = OrderedDict()
        self._lock = Lock()

    def encoded(self, position: int) -> bytes:
        """The bytes of one image. Raises InputError where there are none."""
        number = next(index for index, end in enumerate(self._ends) if position < end)
        row = position - (self._ends[number - 1] if number else 0)
        with self._lock:
            block = self._block(number, row // ROWS)
        data = block[row % ROWS]
        if not data:
            raise InputError(f"{self._paths[number]}: row {row} holds no image bytes.")
        return data

    def check(self) -> None:
        """Raises InputError where the first images are named by their paths alone."""
        if self._ends[0] and not any(self._block(0, 0)):
            raise InputError(
                f"{self._paths[0]}: its column {self._image} holds paths and no image bytes. Name the folder of the "
                f"images, or embed them (push_to_hub of `datasets` does)."
            )

    def opened(self, count: int) -> list[Callable[[], Image.Image]]:
        """Openers of the first images."""
        return [partial(self._open, position) for position in range(count)]

    def _open(self, position: int) -> Image.Image:
        return Image.open(io.BytesIO(self.encoded(position)))

    def _block(self, number: int, block: int) -> list[bytes | None]:
        key = number, block
        if key not in self._blocks:
            path = self._paths[number]
            column = pl.col(self._image).struct.field("bytes")
            frame = pl.scan_parquet(path).select(column).slice(block * ROWS, ROWS)
            self._blocks[key] = _tried(path, lambda: frame.collect().to_series().to_list())
            if len(self._blocks) > KEPT:
                self._blocks.popitem(last=False)
        return self._blocks[key]


def _one_column(path: Path, column: str | pl.Expr) -> pl.Series:
    return pl.scan_parquet(path).select(column).collect().to_series()


def _column(folder: Path, schema: dict[str, Any], named: list[str], fits: Callable[[Any], bool], expected: str) -> str:
    """The column named, or the only one that fits. Raises InputError."""
    found = named or [name for name, kind in schema.items() if fits(kind)]
    if len(found) != 1 or found[0] not in schema or not fits(schema[found[0]]):
        told = ", ".join(f"{name} ({kind})" for name, kind in schema.items())
        raise InputError(
            f"{folder}: expected one column of {expected}; it has {told:.300}. Name them: --columns path=…,label=…."
        )
    return found[0]


def _is_image(kind: Any) -> bool:
    return isinstance(kind, pl.Struct) and {"bytes", "path"} <= {field.name for field in kind.fields}


def _is_label(kind: Any) -> bool:
    return bool(kind == pl.String) or _is_number(kind)


def _is_number(kind: Any) -> bool:
    return bool((kind.inner if isinstance(kind, pl.List) else kind).is_integer())


def _names(path: Path, label: str) -> tuple[str, ...] | None:
    """The names that the metadata has for the label column."""
    told = _tried(path, lambda: pl.read_parquet_metadata(path)).get("huggingface")
    try:
        feature = json.loads(told)["info"]["features"][label] if told else {}
        for _ in range(2):
            feature = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
        names: Any = feature.get("names")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None
    texts = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    return tuple(names) if texts and len(set(names)) == len(names) else None


def _tried(path: Path, read: Callable[[], Any]) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: is no regular file.")
    try:
        with quiet_panics():
            return read()
    except (Exception, pl.exceptions.PanicException) as error:  # polars raises many kinds
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: cannot be read as Parquet: {reason}. Is it whole? Download it again.") from error
