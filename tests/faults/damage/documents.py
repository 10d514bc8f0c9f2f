"""Ways to damage JSON, safetensors headers and TOML: a node gone, of another type, or blown up."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any

from numpy.random import Generator

from tests.faults.damage.blind import DIGITS, ESCAPES, NASTY, Mutator, pick

MARK = "@@digits@@"
"""Stands for a number of 5,000 digits until the JSON is written: Python does not write such numbers."""
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 10**9, 2**31, 2**53, 2**63, 10**30, 0.5, -0.5, 1e308, float("nan"), float("inf"), MARK, "",
    "x", ESCAPES, "\0", "é\ud800", "$\\frac{$", "a" * 20_000, [], {}, [[]], [None], {"": None}, [0] * 1000, "../../x", "/dev/zero",
)  # fmt: skip


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
