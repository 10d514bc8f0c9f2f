"""Checkpoints: one safetensors file, its description as JSON under the metadata key `vhs`.

The header is read and bounded, and every tensor's shape compared with what the described sizes
imply, before anything is built.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass, field, fields, replace
from os.path import exists, isdir, isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vhs.errors import InputError
from vhs.formats import map_file
from vhs.formats.atomic import write_whole
from vhs.formats.descriptions import checksum
from vhs.models.spec import Spec, TimmSpec, ViTSpec, spec_from_json

if TYPE_CHECKING:
    from torch import Tensor

KEY = "vhs"
DTYPES = ("F32", "F16", "BF16", "F64", "I64")
FORMAT = 1
MAX_TEXT = 1024
MAX_HEADER = 100 * 1024 * 1024
TIMM_NAME = "vit_tiny_patch16_224"


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint says of itself.

    timm: {"name", "kwargs"} with which timm.create_model builds it, or None where timm cannot.
    data: the training and validation splits, {"train"|"val": {"name", "hash", "path"}}, path relative
    to the checkpoint. recipe: the training options as resolved. parent, teacher: a reference and the hash of its
    weights; assigned: which of the teacher's heads a student's heads became, where they were matched; pruned: how heads
    went (pruning/checkpoint); shell: as in shell_of. weights: "raw" or "ema". weights_id: their hash.
    """

    spec: Spec
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    task: str = "classification"
    timm: dict[str, Any] | None = None
    data: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    weights: str = "raw"
    parent: str | None = None
    teacher: str | None = None
    assigned: str | None = None
    pruned: dict[str, Any] | None = None
    shell: dict[str, Any] | None = None
    step: int = 0
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    weights_id: str | None = None
    format: int = FORMAT

    def to_json(self) -> str:
        """With a checksum of all the rest."""
        plain = asdict(self) | {"spec": self.spec.to_json()}
        for name in ("assigned", "pruned", "shell"):
            if plain[name] is None:
                del plain[name]
        return json.dumps(plain | {"checksum": checksum(plain)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, where: str) -> CheckpointInfo:
        """Raises InputError naming what is wrong."""
        try:
            raw = json.loads(text)
            if raw["format"] != FORMAT:
                raise InputError(f"{where}: checkpoint format {raw['format']!r}, this vhs reads {FORMAT}.")
            values = {item.name: raw[item.name] for item in fields(cls) if item.name in raw}
            values["spec"] = spec_from_json(raw["spec"], where)
            for name in ("classes", "mean", "std"):
                values[name] = tuple(raw[name])
            return cls(**values)._check(where)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{where}: its `{KEY}` description is damaged: {error}.") from error

    def _check_types(self, where: str) -> None:
        kinds: dict[str, type] = {
            "task": str,
            "weights": str,
            "recipe": dict,
            "versions": dict,
            "data": dict,
            "step": int,
            "seed": int,
        }
        for name, kind in kinds.items():
            if type(getattr(self, name)) is not kind:
                raise InputError(f"{where}: {name} is {getattr(self, name)!r:.40}, expected {kind.__name__}.")
        for name, number in (("step", self.step), ("seed", self.seed)):
            if not 0 <= number < 2**53:
                raise InputError(f"{where}: {name} is {number!r:.40}, expected 0 to 2^53.")
        if not all(isinstance(name, str) for name in self.classes):
            raise InputError(f"{where}: its class names are not text.")
        for split, entry in self.data.items():
            texts = entry.values() if isinstance(entry, dict) else [None]
            if not all(isinstance(text, str) and len(text) < MAX_TEXT for text in texts):
                raise InputError(f"{where}: data {split!r:.20} is damaged; expected name, split, hash and path.")
        known = self.timm is None or (isinstance(self.timm, dict) and isinstance(self.timm.get("name"), str))
        if not known:
            raise InputError(f"{where}: timm is {self.timm!r:.40}, expected name and kwargs, or null.")

    def _check_texts(self, where: str) -> None:
        for name in ("parent", "teacher", "assigned"):
            text = getattr(self, name)
            if text is not None and not isinstance(text, str):
                raise InputError(f"{where}: {name} is {text!r:.40}, expected text or null.")
        for name in ("pruned", "shell"):
            if type(getattr(self, name)) not in (dict, type(None)):
                raise InputError(f"{where}: {name} is {getattr(self, name)!r:.40}, expected an object or null.")

    def _check(self, where: str) -> CheckpointInfo:
        spec = self.spec
        self._check_types(where)
        self._check_texts(where)
        if len(self.classes) != spec.classes:
            raise InputError(f"{where}: {len(self.classes)} class names for {spec.classes} outputs.")
        numbers = (*self.mean, *self.std)
        if len(self.mean) != spec.channels or len(self.std) != spec.channels:
            raise InputError(f"{where}: {len(self.mean)} pixel means for {spec.channels} channels.")
        if not all(isinstance(x, (int, float)) and abs(x) < 1e6 for x in numbers) or min(self.std) <= 0:
            raise InputError(f"{where}: pixel mean and std must be numbers, std above 0; found {numbers}.")
        return self


def timm_arguments(spec: Spec) -> dict[str, Any] | None:
    """What builds this architecture with timm.create_model; None for free head widths, parts of our own and fewer heads
    in some layers."""
    if spec.kept:
        return None
    if isinstance(spec, TimmSpec):
        from vhs.models.building import timm_kwargs

        return {"name": spec.name, "kwargs": timm_kwargs(spec)}
    return {"name": TIMM_NAME, "kwargs": spec.timm_kwargs()} if spec.stock else None


def shell_of(spec: Spec) -> dict[str, Any] | None:
    """What timm builds around a pruned model, for those who load it without vhs and exchange the attention modules.

    None for models that are not pruned, and for parts of our own.
    """
    if not spec.kept:
        return None
    if isinstance(spec, TimmSpec):
        return timm_arguments(replace(spec, kept=()))
    whole = replace(spec, heads=1, kept=(), head_width=spec.dim)
    return timm_arguments(whole)


def save(path: Path, state: dict[str, Tensor], info: CheckpointInfo) -> None:
    """Write weights and description, whole or not at all."""
    write_whole(path, to_bytes(state, info))


def to_bytes(state: dict[str, Tensor], info: CheckpointInfo) -> bytes:
    """The bytes of a checkpoint."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    info = replace(info, weights_id=weights_id(tensors), shell=shell_of(info.spec))
    return save(tensors, metadata={KEY: info.to_json()})


def read_info(path: Path) -> CheckpointInfo:
    """The description alone, checked against the tensor shapes in the header. Does not import torch."""
    shapes, metadata = _read_header(path)
    if KEY not in metadata:
        raise InputError(
            f"{path}: safetensors without a `{KEY}` description, so not a vhs checkpoint. "
            f"For timm weights use timm:NAME@{path}."
        )
    info = CheckpointInfo.from_json(metadata[KEY], str(path))
    _compare(shapes, info.spec, path)
    raw = json.loads(metadata[KEY])
    if raw.get("checksum", checksum(raw)) != checksum(raw):  # vhs 0.1.0 wrote none
        raise InputError(f"{path}: its `{KEY}` description is damaged (another checksum). Copy or train it again.")
    return info


def load(path: Path) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """Description and weights (CPU, float32 whatever was stored).

    Raises InputError for anything that is not a sound vhs checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    info = read_info(path)
    try:
        state = {name: _float(tensor) for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}. Copy or train it again.") from error
    if info.weights_id is not None and info.weights_id != weights_id(state):
        raise InputError(
            f"{path}: its weights are damaged: they are not those it was saved with. Copy or train it again."
        )
    return info, state


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def weights_id(state: dict[str, Tensor]) -> str:
    """12 hex digits that stand for names, shapes and values of all weights."""
    digest = hashlib.sha256()
    for name in sorted(state):
        values = np.ascontiguousarray(state[name].detach().float().cpu().numpy())
        digest.update(f"{name}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:12]


def _read_header(path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """(shape of each tensor, metadata) of a safetensors file, nothing else read."""
    if exists(path) and not isfile(path) and not isdir(path):  # these take names that no file can have
        raise InputError(f"{path}: is no regular file. A vhs checkpoint was expected.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if len(start) == 8 and start.decode("ascii", "replace").isprintable():
                raise ValueError("it begins as a text file")
            (length,) = struct.unpack("<Q", start)
            if length > MAX_HEADER:
                raise ValueError("the header claims to be over 100 MB")
            header = json.loads(file.read(length))
            metadata = header.pop("__metadata__", {})
            if map_file.KEY in metadata:
                raise InputError(f"{path}: is a maps file, which `vhs plot` draws. A vhs checkpoint was expected.")
            _check_entries(header, path.stat().st_size - 8 - length)
            return {name: tuple(entry["shape"]) for name, entry in header.items()}, dict(metadata)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Name an existing checkpoint.") from error
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: is not a safetensors file: {error}. A vhs checkpoint was expected.") from error


def _check_entries(header: dict[str, Any], size: int) -> None:
    """Raise ValueError for a tensor that is no floating-point array, or whose bytes the file does not have."""
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"{name} is of type {entry['dtype']}, expected one of {', '.join(DTYPES)}")
        begin, end = entry["data_offsets"]
        if not all(type(number) is int for number in (*entry["shape"], begin, end)) or not 0 <= begin <= end <= size:
            raise ValueError(f"{name} lies outside the file, which is cut off or damaged")


def _compare(found: dict[str, tuple[int, ...]], spec: Spec, path: Path) -> None:
    if isinstance(spec, ViTSpec) and spec.depth > len(found):
        raise InputError(f"{path}: says depth {spec.depth} but holds {len(found)} tensors.")
    if isinstance(spec, ViTSpec):
        expected = spec.parameter_shapes()
    else:
        from vhs.models.building import parameter_shapes

        expected = parameter_shapes(spec)
    for name in sorted(set(expected) | set(found)):
        if name not in found:
            raise InputError(f"{path}: tensor {name} is missing; its architecture needs {expected[name]}.")
        if name not in expected:
            raise InputError(f"{path}: tensor {name} is not part of its architecture.")
        if found[name] != expected[name]:
            raise InputError(f"{path}: {name} has shape {found[name]}, its architecture says {expected[name]}.")
