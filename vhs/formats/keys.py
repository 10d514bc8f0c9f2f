"""Keys of a JSON file that somebody else wrote: each is read with its type and bounds, or the file is refused."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vhs.errors import InputError

LARGEST = 16 * 1024 * 1024
"""Bytes of a file that are read."""


@dataclass(frozen=True)
class Keys:
    """The object in a JSON file. Every method raises InputError naming file and key."""

    path: Path
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Keys:
        """Whatever the file holds, the answer is an object or one line."""
        try:
            if path.exists() and not path.is_file():
                raise InputError(f"{path}: is no file. A folder that transformers wrote was expected.")
            with path.open("rb") as file:
                text = file.read(LARGEST + 1)
            if len(text) > LARGEST:
                raise InputError(f"{path}: is over {LARGEST >> 20} MB, far more than a description takes.")
            data = json.loads(text)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}. A folder that transformers wrote was expected.") from error
        except RecursionError:
            raise InputError(f"{path}: is nested too deep to be a description.") from None
        except ValueError as error:
            raise InputError(f"{path}: is not JSON: {' '.join(str(error).split())[:120]}.") from error
        if not isinstance(data, dict):
            raise InputError(f"{path}: is not a JSON object.")
        return cls(path, data)

    def wrong(self, name: str, expected: str) -> InputError:
        """What to raise for a key whose value is not as expected."""
        return InputError(f"{self.path}: {name} is {_short(self.values.get(name))}, expected {expected}.")

    def without_nulls(self) -> Keys:
        """Keys that hold null left out, as transformers reads image processors."""
        return Keys(self.path, {name: value for name, value in self.values.items() if value is not None})

    def whole(self, name: str, default: int, limit: int, least: int = 1) -> int:
        """A whole number from `least` to `limit`."""
        value = self.values.get(name, default)
        if type(value) is not int or not least <= value <= limit:
            raise self.wrong(name, f"a whole number {least} to {limit}")
        return value

    def number(self, name: str, default: float, limit: float) -> float:
        """A number above 0, up to `limit`."""
        value = self.values.get(name, default)
        if type(value) not in (int, float) or not 0 < value <= limit:
            raise self.wrong(name, f"a number above 0, up to {limit:g}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false."""
        value = self.values.get(name, default)
        if type(value) is not bool:
            raise self.wrong(name, "true or false")
        return value

    def sides(self, name: str, default: int, limit: int) -> tuple[int, int]:
        """Height and width: two whole numbers, or one for both."""
        value = self.values.get(name, default)
        pair = [value, value] if type(value) is int else value
        if not isinstance(pair, list) or len(pair) != 2:
            raise self.wrong(name, "a whole number or two of them")
        if not all(type(side) is int and 1 <= side <= limit for side in pair):
            raise self.wrong(name, f"whole numbers 1 to {limit}")
        return pair[0], pair[1]

    def levels(self, name: str, default: tuple[float, ...], count: int, *, positive: bool) -> tuple[float, ...]:
        """A number for each of `count` channels, or one for all."""
        value = self.values.get(name, list(default))
        listed = value if isinstance(value, list) else [value]
        listed = listed * count if len(listed) == 1 else listed
        sound = [x for x in listed if type(x) in (int, float) and abs(x) <= 1e6 and (x > 0 or not positive)]
        if len(listed) != count or len(sound) != count:
            raise self.wrong(name, f"{count} numbers{' above 0' if positive else ''}")
        return tuple(float(x) for x in listed)

    def known(self, read: Collection[str], harmless: Collection[str], refused: dict[str, str]) -> None:
        """Refuse a key that is not known, and one of `refused` (why, by name) that says anything."""
        for name, value in self.values.items():
            if name in refused and value not in (None, False, {}, []):
                raise InputError(f"{self.path}: {name} is {_short(value)}: {refused[name]}.")
            if name not in read and name not in harmless and name not in refused:
                raise InputError(
                    f"{self.path}: {_short(name)} is a key not known here, and might change the result. Take it out "
                    f"if it does not."
                )


def _short(value: object) -> str:
    """A value as one short line, whatever it is."""
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError, TypeError):
        text = type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."
