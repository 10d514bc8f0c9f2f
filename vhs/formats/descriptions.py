"""Descriptions in the header of a safetensors file: how damage to one is noticed."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def checksum(description: dict[str, Any]) -> str:
    """16 hex digits that stand for a description, without a checksum it holds."""
    plain = {name: value for name, value in description.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
