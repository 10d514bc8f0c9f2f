"""The state of an unfinished training run: one safetensors file, `CKPT-stem.resume`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs.errors import InputError, MismatchError
from vhs.formats.atomic import write_own

if TYPE_CHECKING:
    from torch import Tensor

KEY, DIGEST = "vhs-resume", "digest"


def path_of(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".resume")


def save(path: Path, tensors: dict[str, Tensor], described: dict[str, Any]) -> None:
    from safetensors.torch import save as to_bytes

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    words = json.dumps(described, sort_keys=True)
    write_own(path, to_bytes(plain, metadata={KEY: words, DIGEST: _digest(plain, words)}))


def load(path: Path, expected: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and description. Raises MismatchError naming what of `expected` the stored run had otherwise."""
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            raise ValueError("it is no regular file")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            described = dict(json.loads(metadata[KEY]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata[DIGEST] != _digest(tensors, metadata[KEY]):
            raise ValueError("it is damaged")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: is no training state: {error}. Remove it to start anew.") from error
    for key, value in expected.items():
        _compare(path, key, described.get(key), json.loads(json.dumps(value)))
    return tensors, described


def _digest(tensors: dict[str, Tensor], words: str) -> str:
    """Of all tensors' bytes and the description."""
    import torch

    digest = hashlib.sha256(words.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _compare(path: Path, key: str, stored: Any, now: Any) -> None:
    """Raise MismatchError naming the first difference, inside dictionaries too."""
    if isinstance(stored, dict) and isinstance(now, dict):
        for name in sorted(set(stored) | set(now)):
            _compare(path, name, stored.get(name), now.get(name))
    elif stored != now:
        raise MismatchError(
            f"{path}: was begun with {key} {stored!r}, now it is {now!r}. "
            f"Go back to the old value, or start anew without --resume."
        )
