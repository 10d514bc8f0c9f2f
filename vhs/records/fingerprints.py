"""What must be equal for two runs to give equal bytes, and in which words it is told where it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vhs.formats.atomic import sha256

OPTIONS = {
    "measure": "command or --method", "part": "--part", "names": "models", "models": "weights",
    "data": "data (--data)", "conditions": "--shift", "max_samples": "--max-samples", "seed": "--seed",
    "skip_bad": "--skip-bad", "by": "--by", "weight_fill": "--fill or --compensate",
    "sets": "heads that go (--order, --select, --every)", "unit": "--unit or --select", "rescale": "--rescale",
    "fills": "--fill", "fill_data": "--fill-data", "per_sample": "--per-sample", "across": "--within-layer",
    "regions": "--regions", "activity": "--activity", "gradients": "--gradients", "against": "--against",
    "summary": "--summary", "normalise_by": "--normalise-by", "precision": "--precision", "device": "--device",
    "threads": "--threads", "versions": "versions", "tile": "--tile", "group": "variants at once (--tile)",
}  # fmt: skip
"""Parts of a fingerprint and what a user calls them; what follows from others comes last."""


class Difference(NamedTuple):
    """key: of the fingerprint; option: what a user calls it; one, other: its values in short."""

    key: str
    option: str
    one: str
    other: str


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Difference]:
    """What is unlike in two fingerprints, what is told first in front."""
    for key in sorted(set(one) | set(other), key=_order):
        if one.get(key) != other.get(key):
            yield Difference(key, OPTIONS.get(key, key), _short(one.get(key)), _short(other.get(key)))


def plan_of(fingerprint: Mapping[str, Any]) -> str:
    """16 hex digits that stand for a fingerprint."""
    return sha256(json.dumps(fingerprint, sort_keys=True).encode())[:16]


def _order(key: str) -> int:
    return list(OPTIONS).index(key) if key in OPTIONS else len(OPTIONS)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
