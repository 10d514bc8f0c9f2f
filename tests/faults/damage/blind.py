"""Ways to damage any bytes. A mutator takes the bytes and a generator, and gives bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

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
"""What may stand in a text instead of a word or a number."""


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
TEXT = (*BLIND, number, number)
"""For a text."""
