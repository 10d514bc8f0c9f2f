"""Ways to damage a file's bytes, blindly and by its kind. A mutator takes the bytes and a generator, and gives bytes."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator

Mutator = Callable[[bytes, Generator], bytes]

DIGITS = "9" * 5000
ESCAPES = "\x1b]0;owned\x07\x1b[31m\x9b2J"
NASTY = (
    "", " ", "-1", "0", "1.5", "NaN", "inf", "-inf", "1e999", "1e308", "9223372036854775808", "-9223372036854775809",
    "4294967296", "1000000000", "0x10", "1_000", "true", "null", "None", DIGITS, "\0", ESCAPES, "é", "\u202e", "²", "١",
    "$\\frac{1}$", "$", "a" * 20_000, ",", '"', "'", "\n", "\r", "\t", "../../x", "/etc/passwd", "%s%n", "{", "[", "=",
    "all", "clean", "label", "0.0", "-0.0", "🙂",
)  # fmt: skip
MARK = "@@digits@@"
"""Stands for a number of 5,000 digits until the JSON is written: Python does not write such numbers."""
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**9, 2**31, 2**53, 2**63, 10**30, 0.5, -0.5, 1e308, float("nan"), float("inf"), MARK, "",
    "x", ESCAPES, "\0", "é\ud800", "$\\frac{$", "a" * 20_000, [], {}, [[]], [None], {"": None}, [0] * 1000, "../../x", "/dev/zero",
)  # fmt: skip


def pick(items: Any, rng: Generator) -> Any:
    return items[int(rng.integers(len(items)))]


def _place(data: bytes | bytearray, rng: Generator) -> int:
    return int(rng.integers(len(data) + 1))


def _span(data: bytes | bytearray, rng: Generator) -> tuple[int, int]:
    """A range, short more often than long."""
    start = _place(data, rng)
    return start, min(len(data), start + int(2 ** rng.uniform(0, 12)))


def flip(data: bytes, rng: Generator) -> bytes:
    """One to eight bits."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 9)) if len(made) else 0):
        made[int(rng.integers(len(made)))] ^= 1 << int(rng.integers(8))
    return bytes(made)


def cut(data: bytes, rng: Generator) -> bytes:
    return data[: _place(data, rng)]


def splice(data: bytes, rng: Generator) -> bytes:
    """A piece of the file over another place."""
    (start, end), place = _span(data, rng), _place(data, rng)
    return data[:place] + data[start:end] + data[place + end - start :]


def doubled(data: bytes, rng: Generator) -> bytes:
    """A piece of the file once more."""
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * int(rng.integers(1, 4)) + data[end:]


def dropped(data: bytes, rng: Generator) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def filled(data: bytes, rng: Generator) -> bytes:
    """A piece of zeros, ones or noise."""
    start, end = _span(data, rng)
    return (
        data[:start] + pick((b"\0" * (end - start), b"\xff" * (end - start), rng.bytes(end - start)), rng) + data[end:]
    )


def inserted(data: bytes, rng: Generator) -> bytes:
    """What is no text, or no plain text, in between."""
    place = _place(data, rng)
    odd = pick((b"\0", b"\xff\xfe", b"\xc3\x28", ESCAPES.encode(), rng.bytes(7), b"\n", b"\xef\xbb\xbf"), rng)
    return data[:place] + odd + data[place:]


def number(data: bytes, rng: Generator) -> bytes:
    """A number in the text becomes another, larger, or none."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", data))
    if not found:
        return flip(data, rng)
    match = pick(found, rng)
    return data[: match.start()] + pick(NASTY, rng).encode() + data[match.end() :]


def extended(data: bytes, rng: Generator) -> bytes:
    return data + pick((b"\0" * 512, rng.bytes(100), data[:1000], b"\n", b"x"), rng)


def noise(data: bytes, rng: Generator) -> bytes:
    return rng.bytes(min(len(data), 5000))


def empty(data: bytes, rng: Generator) -> bytes:
    return b""


BLIND: tuple[Mutator, ...] = (flip, flip, flip, cut, splice, doubled, dropped, filled, inserted, extended, noise, empty)
"""For any file."""


def as_json(data: bytes, rng: Generator) -> bytes:
    """One node of the document gone, of another type, or blown up."""
    document = json.loads(data)
    for _ in range(int(rng.integers(1, 3))):
        document = _changed(copy.deepcopy(document), rng)
    if rng.random() < 0.01:
        return b"[" * 100_000
    return json.dumps(document).replace(f'"{MARK}"', DIGITS).encode("utf-8", "surrogatepass")


def _changed(document: Any, rng: Generator) -> Any:
    places = list(_places(document))
    if not places:
        return pick(ODD_VALUES, rng)
    parent, key = pick(places, rng)
    how = rng.random()
    if how < 0.25:
        del parent[key]
    elif how < 0.35 and isinstance(parent, dict):
        parent[pick(NASTY, rng)] = parent.pop(key)
    elif how < 0.45 and isinstance(parent, list):
        parent.insert(key, parent[key])
    else:
        parent[key] = pick(ODD_VALUES, rng)
    return document


def _places(node: Any) -> Any:
    """(container, key) of every node below `node`."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield node, key
        yield from _places(child)


def safetensors_header(data: bytes, rng: Generator) -> bytes:
    """The JSON header, or the JSON that vhs keeps in it."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    told = header.get("__metadata__", {})
    if told and rng.random() < 0.6:
        key = pick(sorted(told), rng)
        told[key] = as_json(told[key].encode(), rng).decode("utf-8", "replace")
        text = json.dumps(header).encode()
    else:
        text = as_json(data[8 : 8 + length], rng)
    if rng.random() < 0.05:
        return struct.pack("<Q", int(pick((0, 2**63, 2**64 - 1, length + 1, length * 2), rng))) + data[8:]
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def below_header(mutate: Mutator) -> Mutator:
    """Damage to the tensors of a safetensors file alone."""

    def mutated(data: bytes, rng: Generator) -> bytes:
        start = 8 + struct.unpack("<Q", data[:8])[0]
        return data[:start] + mutate(data[start:], rng)

    mutated.__name__ = f"tensors_{mutate.__name__}"
    return mutated


def as_csv(data: bytes, rng: Generator) -> bytes:
    """A cell, a row or a column otherwise."""
    rows = list(csv.reader(io.StringIO(data.decode())))
    row, column = int(rng.integers(len(rows))), int(rng.integers(len(rows[0])))
    how = rng.random()
    if how < 0.6:
        rows[row][column] = pick(NASTY, rng)
    elif how < 0.7:
        del rows[row][column]
    elif how < 0.75:
        rows = [[cell for at, cell in enumerate(line) if at != column] for line in rows]
    elif how < 0.8:
        rows[0][column] = rows[0][column - 1]
    elif how < 0.9:
        rows.insert(row, list(pick(rows, rng)))
    else:
        rows = rows[:row] or rows[:1]
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n", quoting=csv.QUOTE_MINIMAL, escapechar="\\")
    writer.writerows(rows)
    return made.getvalue().encode("utf-8", "surrogatepass")


def row_cut(data: bytes, rng: Generator) -> bytes:
    """Whole rows, but not all of them."""
    lines = data.splitlines(keepends=True)
    return b"".join(lines[: int(rng.integers(2, len(lines)))])


def as_jsonl(data: bytes, rng: Generator) -> bytes:
    lines = data.splitlines(keepends=True)
    at = int(rng.integers(len(lines)))
    lines[at] = as_json(lines[at], rng) + b"\n"
    return b"".join(lines)


def as_toml(data: bytes, rng: Generator) -> bytes:
    """A line with another value, key or table."""
    lines = data.decode().splitlines()
    at = int(rng.integers(len(lines)))
    key = lines[at].partition("=")[0]
    value = pick((*NASTY, "[1, 2]", "{a = 1}", '"x"', "1979-05-27", "[[", '"""', DIGITS), rng)
    lines[at] = pick((f"{key}= {value}", f"{value} = 1", f"[{key.strip()}]", f'{key}= "{value}"', value), rng)
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def as_parquet(data: bytes, rng: Generator) -> bytes:
    """A column of another type, with odd values, doubled rows, none, or gone."""
    import polars as pl

    table = pl.read_parquet(io.BytesIO(data))
    name = pick(table.columns, rng)
    odd = pick((None, "x", ESCAPES, -1, 2**62, float("nan"), [1], {"a": 1}, b"\xff", True, 0), rng)
    how = int(rng.integers(6))
    if how < 3:
        kept = pl.Series(name, [odd] * table.height, strict=False)
        table = table.with_columns(kept)
    elif how == 3:
        table = table.drop(name)
    elif how == 4:
        table = table.head(int(rng.integers(table.height)))
    else:
        table = pl.concat([table, table.sample(3, with_replacement=True, seed=int(rng.integers(99)))])
    made = io.BytesIO()
    table.write_parquet(made, compression=pick(("zstd", "gzip", "uncompressed"), rng))
    return made.getvalue()


def gzipped(mutate: Mutator) -> Mutator:
    """Damage to what a gzip file holds."""

    def mutated(data: bytes, rng: Generator) -> bytes:
        return gzip.compress(mutate(gzip.decompress(data), rng), 1)

    mutated.__name__ = f"gzipped_{mutate.__name__}"
    return mutated


def idx_header(data: bytes, rng: Generator) -> bytes:
    """A type, a number of dimensions or a size that is not so."""
    made = bytearray(data)
    if rng.random() < 0.5:
        made[int(rng.integers(4))] = int(rng.integers(256))
    else:
        at = 4 * int(rng.integers(1, 4))
        made[at : at + 4] = struct.pack(">I", int(pick((0, 1, 2**31, 2**32 - 1, 65536, int(rng.integers(1000))), rng)))
    return bytes(made)


def as_npz(data: bytes, rng: Generator) -> bytes:
    """An array of another type, shape, name or order, or with a header that lies."""
    if rng.random() < 0.3:
        return _lying(data, rng)
    with np.load(io.BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = pick(sorted(arrays), rng)
    value = arrays[name]
    odd = (
        lambda: value.astype(float), lambda: value[:0], lambda: value[:1], lambda: value[..., None], lambda: value.ravel(),
        lambda: np.array(3), lambda: np.array([None] * len(value), object), lambda: value.astype("S4"), lambda: -1 - value.astype(int),
        lambda: value.astype(np.int64) + 2**40, lambda: np.full(value.shape, np.nan), lambda: np.asfortranarray(value),
        lambda: np.zeros(len(value), [("a", "i4")]), lambda: value.astype(bool), lambda: value.astype(complex), lambda: np.eye(9, dtype=int)[value.ravel() % 9],
    )  # fmt: skip
    if rng.random() < 0.15:
        arrays[pick(NASTY, rng).replace("\0", "") or "x"] = arrays.pop(name)
    else:
        arrays[name] = pick(odd, rng)()
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def _lying(data: bytes, rng: Generator) -> bytes:
    """The same archive with digits of one array's header changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        names = old.namelist()
        wrong = pick(names, rng)
        for name in names:
            content = old.read(name)
            if name == wrong:
                head = content[:128]
                digits = pick((b"9", b"99999", b"-1", b"1e9", b"None"), rng)
                content = re.sub(rb"(\()\d+", rb"\g<1>" + digits, head, count=1)[:128].ljust(128) + content[128:]
            new.writestr(name, content)
    return made.getvalue()


def as_pth(data: bytes, rng: Generator) -> bytes:
    """A pickle of torch's with something else in it."""
    import torch

    state = torch.load(io.BytesIO(data), weights_only=True)
    name = pick(sorted(state), rng)
    odd = (
        None, 3, "x", [], {}, torch.zeros(()), torch.zeros(0), state[name].double(), state[name].to(torch.complex64), state,
        state[name].to_sparse(), torch.nn.Linear(2, 2), np.zeros(3), state[name].half(), {"state_dict": state}, state[name] > 0,
    )  # fmt: skip
    state = {**state, name: pick(odd, rng)} if rng.random() < 0.8 else pick(odd, rng)
    made = io.BytesIO()
    torch.save(state, made, _use_new_zipfile_serialization=bool(rng.random() < 0.8))
    return made.getvalue()
